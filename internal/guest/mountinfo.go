//go:build linux

package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line of /proc/self/mountinfo (proc(5)).
type Mount struct {
	Root    string // mounted directory of the file system; for cgroup2 relative to the cgroup namespace
	Point   string
	Options string // options of this mount: ro, nosuid, …
	Type    string
	Super   string // options of the file system
}

// ReadOnly reports whether the mount or its file system is read-only.
func (m Mount) ReadOnly() bool {
	return slices.Contains(strings.Split(m.Options, ","), "ro") || slices.Contains(strings.Split(m.Super, ","), "ro")
}

// Mounts are in the order in which they were made: a later mount hides an earlier one.
type Mounts []Mount

// ReadMounts returns the mounts of this mount namespace.
func ReadMounts() (Mounts, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseMounts(f)
}

// ParseMounts reads text in the format of /proc/self/mountinfo.
func ParseMounts(r io.Reader) (Mounts, error) {
	var ms Mounts
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // the options of an overlay name every layer
	for lines.Scan() {
		line := lines.Text()
		// 36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(left) < 6 || len(right) < 3 {
			return nil, fmt.Errorf("read mountinfo: unexpected line %q", line)
		}
		ms = append(ms, Mount{
			Root:    unescapeMount(left[3]),
			Point:   unescapeMount(left[4]),
			Options: left[5],
			Type:    right[0],
			Super:   right[2],
		})
	}
	return ms, lines.Err()
}

// unescapeMount decodes the kernel's \040 and the like for space, tab, newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At returns the topmost mount whose mount point is exactly p.
func (ms Mounts) At(p string) (Mount, bool) {
	for i := len(ms) - 1; i >= 0; i-- {
		if ms[i].Point == p {
			return ms[i], true
		}
	}
	return Mount{}, false
}

// Holding returns the mount that contains p.
func (ms Mounts) Holding(p string) (Mount, bool) {
	for ; ; p = path.Dir(p) {
		if m, ok := ms.At(p); ok {
			return m, true
		}
		if p == "/" {
			return Mount{}, false
		}
	}
}

// Below returns the mount points under dir, parents first, without dir itself.
func (ms Mounts) Below(dir string) []string {
	var points []string
	for _, m := range ms {
		if strings.HasPrefix(m.Point, dir+"/") {
			points = append(points, m.Point)
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}
