// Package report shows people and programs what closures and images contain. It writes
// tables, pages, differences and bills of materials. The package only reads images and
// changes nothing.
package report
