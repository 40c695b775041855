// Package atomicfile writes files that appear whole or not at all.
//
// [Write] writes a small file, [WritePrivate] a file with secrets, and [WriteCached] an
// entry of a cache. For a file that is written in pieces, use [Create] and [Commit]:
// Commit syncs the file and gives it its name. [SyncDir] makes names survive a crash, and
// [Lock] keeps other processes of this program out of a directory.
package atomicfile
