"""Great Expectations: rules, suites, the gate, the bridge to asset checks and the scorecard."""
