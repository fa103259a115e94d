"""One module per published way of scoring."""
