package layers

// TarWriter writes the canonical tar stream of format version 1.
type TarWriter struct{}
