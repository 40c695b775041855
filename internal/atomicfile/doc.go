// Package atomicfile writes files that appear whole or not at all.
//
// [Write] does it for a small file, [WritePrivate] for one with secrets, and
// [WriteCached] for an entry of a cache. [Create] and [Commit] do it for one that is
// written in pieces: Commit syncs it and gives it its name. [SyncDir] makes names
// last, and [Lock] keeps other processes of this program out of a directory.
package atomicfile
