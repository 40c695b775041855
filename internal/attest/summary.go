package attest

// SummaryType is the predicate type of a verification summary (SLSA VSA v1).
const SummaryType = "https://slsa.dev/verification_summary/v1"
