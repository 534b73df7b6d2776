//! The few file operations that everything durable is built from, so that a model can crash between any two of them.
