//! Policy, guardrails and ledger; blocks and tickets.
