"""The planner: candidates, their predicted costs, the choice, and the reason for every one that was turned down."""
