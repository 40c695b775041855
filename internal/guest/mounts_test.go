//go:build linux

package guest

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func parseMounts(t *testing.T, text string) Mounts {
	t.Helper()
	ms, err := ParseMounts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func TestParseMounts(t *testing.T) {
	ms := parseMounts(t, `712 571 0:58 / / rw,relatime master:256 - overlay overlay rw,lowerdir=/l1:/l2
713 712 0:61 / /run rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw
714 713 254:1 /secrets /run/secrets\040of\134mine ro,relatime - ext4 /dev/vda ro
715 712 0:62 / /runner rw - tmpfs tmpfs rw
716 712 0:63 / /run rw - ramfs ramfs rw
`)
	if m, ok := ms.At("/run"); !ok || m.Type != "ramfs" {
		t.Errorf("At(/run) = %+v, %v: want the mount made last", m, ok)
	}
	if m, ok := ms.At(`/run/secrets of\mine`); !ok || m.Root != "/secrets" || !m.ReadOnly() {
		t.Errorf("escaped mount point = %+v, %v", m, ok)
	}
	if _, ok := ms.At("/tmp"); ok {
		t.Error("At(/tmp) found a mount")
	}
	if got, want := ms.Below("/run"), []string{`/run/secrets of\mine`}; !slices.Equal(got, want) {
		t.Errorf("Below(/run) = %q, want %q", got, want)
	}
	if m, ok := ms.Holding("/runner/a/b"); !ok || m.Point != "/runner" {
		t.Errorf("Holding = %+v, %v", m, ok)
	}
}

func TestParseMountsRefuses(t *testing.T) {
	for _, line := range []string{"x", "1 2 0:1 / /", "1 2 0:1 / / rw - ext4"} {
		if _, err := ParseMounts(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

func TestReadMounts(t *testing.T) {
	ms, err := ReadMounts()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := ms.At("/proc"); !ok || m.Type != "proc" {
		t.Errorf("At(/proc) = %+v, %v", m, ok)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("714 713 254:1 /a /run/secrets\\040x ro,relatime shared:1 - ext4 /dev/vda ro\n")
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := ParseMounts(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, m := range ms {
			if _, ok := ms.At(m.Point); !ok {
				t.Errorf("mount point %q is not found", m.Point)
			}
		}
	})
}

// The mounts are those of dockerd 20.10, podman 4.3 and a Kubernetes node.
func TestFindCgroup(t *testing.T) {
	const id = "7d3463c834bfd0925789ce9575cb3a71"
	for _, tc := range []struct {
		name, mounts, self string
		want               Cgroup
		err                error
	}{
		{
			name:   "docker: own namespace, own mount",
			mounts: "1 0 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n",
			self:   "0::/\n",
			want:   Cgroup{Dir: "/sys/fs/cgroup"},
		},
		{
			name:   "docker: --cgroupns host, the host's tree bound in",
			mounts: "1 0 0:27 / /sys/fs/cgroup rw,relatime - cgroup2 none rw\n",
			self:   "0::/docker/" + id + "\n",
			want:   Cgroup{Dir: "/sys/fs/cgroup/docker/" + id},
		},
		{
			name:   "--cgroupns host, the container's part alone mounted",
			mounts: "1 0 0:27 /docker/" + id + " /sys/fs/cgroup rw - cgroup2 none rw\n",
			self:   "0::/docker/" + id + "/init.scope\n",
			want:   Cgroup{Dir: "/sys/fs/cgroup/init.scope"},
		},
		{
			name:   "own namespace with the host's tree bound in",
			mounts: "1 0 0:27 /../.. /sys/fs/cgroup rw - cgroup2 none rw\n",
			self:   "0::/\n",
			err:    errCgroupForeign,
		},
		{
			name:   "outside of its own namespace",
			mounts: "1 0 0:27 / /sys/fs/cgroup rw - cgroup2 none rw\n",
			self:   "0::/../../init.scope\n",
			err:    errCgroupForeign,
		},
		{
			name:   "a sibling's part mounted",
			mounts: "1 0 0:27 /docker/other /sys/fs/cgroup rw - cgroup2 none rw\n",
			self:   "0::/docker/" + id + "\n",
			err:    errCgroupForeign,
		},
		{
			name:   "version 1",
			mounts: "1 0 0:3 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n2 1 0:28 /docker/" + id + " /sys/fs/cgroup/systemd ro - cgroup cgroup rw,xattr,name=systemd\n",
			self:   "11:memory:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n",
			want:   Cgroup{Dir: "/sys/fs/cgroup/systemd", V1: true},
		},
		{
			name:   "nothing mounted",
			mounts: "1 0 0:3 / / rw - overlay overlay rw\n",
			self:   "0::/\n",
			err:    errCgroupMissing,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := findCgroup(parseMounts(t, tc.mounts), tc.self)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}
