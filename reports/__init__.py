"""Score files -> pages and tables: how metrics compare, fused methods, the tables of the paper. Imports no torch."""
