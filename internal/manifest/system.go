package manifest

// Names below the toplevel.
const (
	guestInit  = "nixoci-init"
	systemInit = "init"
)
