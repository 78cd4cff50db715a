"""From an fp32 graph to INT8 and FP16 graphs: activation ranges, Q/DQ, what each precision costs, and the guard."""
