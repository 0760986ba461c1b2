import hashlib

from dspex_core.seam import ProgramState


def digest_of(state: ProgramState) -> str:
    """What a state is, as a short text: equal for equal states only."""
    return hashlib.blake2b(state.model_dump_json().encode(), digest_size=16).hexdigest()
