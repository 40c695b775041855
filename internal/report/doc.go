// Package report tells people and other programs what is in closures and
// images: tables, pages, differences, and bills of materials. It reads and
// changes nothing.
package report
