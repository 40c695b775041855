// Package cache stores on this machine what earlier runs found out, so that later runs need not
// read or make it again: the layer of a recipe, the index of an image recipe, and the facts read
// from the files of a system, an application or a base image.
//
// [Open] returns the [Cache] in a directory. Nothing that a run prints or pushes depends on the
// cache: with an empty cache, a run only takes longer.
package cache
