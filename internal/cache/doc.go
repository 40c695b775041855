// Package cache stores on this machine what earlier runs found out, so that later runs need not
// read or make it again: the layer of a recipe, the index of an image recipe, and the facts read
// from the files of a system, an application or a base image.
//
// [Open] returns the [Cache] in a directory. The image that a run pushes does not depend on the
// cache. With an empty cache, the run only takes longer.
package cache
