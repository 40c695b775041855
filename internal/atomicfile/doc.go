// Package atomicfile writes files that appear complete or not at all.
//
// [Write] writes a small file, [WritePrivate] a file with secrets, and [WriteCached] an entry
// of a cache. For a file that is written in pieces, use [Create] and [Commit]: Commit syncs
// the file and gives it its name. After [SyncDir], new names in a directory survive a crash.
// With [Lock], a process keeps other nixoci processes out of a directory.
package atomicfile
