"""What operators can list and sort runs by; registered by workers and clients when they start."""

from temporalio.common import SearchAttributeKey

OPTIMIZER = SearchAttributeKey.for_keyword("DspexOptimizer")
PROGRAM = SearchAttributeKey.for_keyword("DspexProgram")
PHASE = SearchAttributeKey.for_keyword("DspexPhase")
BEST_SCORE = SearchAttributeKey.for_float("DspexBestScore")
LM_CALLS = SearchAttributeKey.for_int("DspexLMCalls")
COST_USD = SearchAttributeKey.for_float("DspexCostUSD")
STATUS = SearchAttributeKey.for_keyword("DspexStatus")

SEARCH_ATTRIBUTES = (OPTIMIZER, PROGRAM, PHASE, BEST_SCORE, LM_CALLS, COST_USD, STATUS)
