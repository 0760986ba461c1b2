from activities import Activities
from dspex import DSPExPlugin
from dspex.worker import _plugin


def test_a_worker_takes_on_every_activity_there_is(tmp_path):
    defined = {
        found.__temporal_activity_definition.name
        for found in vars(Activities).values()
        if hasattr(found, "__temporal_activity_definition")
    }
    plugin = DSPExPlugin(artifacts=tmp_path.as_uri())
    taken = {_plugin._name_of(shell) for shell in plugin._shells}
    assert taken == defined
    assert "suggest" in taken
