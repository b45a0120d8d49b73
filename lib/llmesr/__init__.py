"""LLM-ESR, reproduced: one room a stage, data flowing one way (README.md has the map)."""
