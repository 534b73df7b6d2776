//! What will run: defaults filled, names resolved, rules checked.
