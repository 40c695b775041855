package closure

import (
	"context"
	"errors"
	"fmt"
)

const allQuery = `
SELECT id, path, hash, narSize, deriver, sigs, ca,
	(SELECT group_concat(reference) FROM Refs WHERE referrer = ValidPaths.id)
FROM ValidPaths`

// ReadDatabase returns all paths of a Nix database with schema 10, in any order. No
// other process may write to the file meanwhile. The file may come from an untrusted
// source: ReadDatabase returns an error for anything that Nix would not write.
func ReadDatabase(ctx context.Context, file string) ([]Info, error) {
	var infos []Info
	err := openDatabase(ctx, file, "mode=ro&immutable=1", func(db *database) error {
		// Reject views with these names, because a query on a view could run for ever.
		var tables int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('ValidPaths', 'Refs')`).Scan(&tables); err != nil {
			return err
		}
		if tables != 2 {
			return errors.New("it has no tables ValidPaths and Refs")
		}
		var dangling int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM Refs WHERE referrer NOT IN (SELECT id FROM ValidPaths)`).Scan(&dangling); err != nil {
			return err
		}
		if dangling > 0 {
			return fmt.Errorf("%d references belong to paths that the database does not have", dangling)
		}
		var err error
		infos, err = db.query(ctx, allQuery)
		return err
	})
	return infos, err
}
