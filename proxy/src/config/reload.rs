//! A changed configuration: what changed.
