from dspex.cli._shell import say, until_told_to_stop
from dspex.cli._worker import server_in_use
from dspex.client import Client
from dspex.dashboard import dashboard


async def run_dashboard(*, host: str, port: int) -> None:
    """Serve the dashboard until told to stop."""
    async with (
        await Client.connect(await server_in_use()) as client,
        dashboard(client, host=host, port=port) as address,
    ):
        say(f"dashboard        {address}")
        await until_told_to_stop()
