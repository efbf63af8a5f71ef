//! Policies: several at once, and other numbers for the same budget.

mod numbers;
mod policies;
