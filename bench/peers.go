package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/mediatype"
)

// peers returns the cases of other tools that push to the same registry. nixoci makes their
// input: a layout of uncompressed layers, or one tar. The measured times do not include
// making this input.
func (l *lab) peers() []benchCase {
	all := []benchCase{
		{name: "peer: skopeo copy of an OCI archive, uncompressed layers", run: l.skopeo, once: true},
	}
	if l.crane != "" {
		all = append(all, benchCase{name: "peer: crane append of one tar", run: l.craneAppend, once: true})
	}
	if l.n2c != "" {
		for _, k := range []struct{ name, before, variant string }{
			{"cold", "-", ""},
			{"unchanged, same machine", "warm", ""},
			{"unchanged, fresh machine", "fresh", ""},
			{"configuration, fresh machine", "fresh", "-config"},
			{"update, fresh machine", "fresh", "-v2"},
		} {
			all = append(all, benchCase{
				name: "peer: nix2container " + k.name,
				run:  func(o *outcome) (sample, error) { return l.nix2container(o, k.before, k.variant, nil) },
				count: func(o *outcome) (*traffic, error) {
					return l.counted(func(via func(string) (string, error)) error {
						_, err := l.nix2container(o, k.before, k.variant, via)
						return err
					})
				},
			})
			if k.before != "warm" {
				all = append(all, benchCase{name: slowLinkName + "nix2container " + k.name, once: true, run: func(o *outcome) (sample, error) {
					return l.nix2containerSlowly(o, k.before, k.variant)
				}})
			}
		}
	}
	return all
}

func (l *lab) skopeo(o *outcome) (sample, error) {
	if l.archive == "" {
		file := filepath.Join(l.dir, "image.tar")
		home, err := l.fresh()
		if err != nil {
			return sample{}, err
		}
		if _, err := l.timed([]string{"HOME=" + home}, l.nixoci, "build", "-o", "oci-archive:"+file+":v1", "--compression", "none", "--from", l.large, l.systems[system1]); err != nil {
			return sample{}, err
		}
		l.archive = file
	}
	home, err := l.fresh()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(home)
	l.counter++
	repo := fmt.Sprintf("peer-%d", l.counter)
	// As root, skopeo records which compressed layer it sent for which tar. The directory of
	// these records cannot be changed. A fresh machine must have no such records.
	const remembers = "/var/lib/containers/cache"
	if err := os.MkdirAll(remembers, 0o755); err != nil {
		return sample{}, err
	}
	p, err := l.timed([]string{"HOME=" + home, "XDG_DATA_HOME=" + home},
		"unshare", "-m", "sh", "-ec", "mount -t tmpfs tmpfs "+remembers+`; exec "$@"`, "sh", "skopeo", "--insecure-policy", "--tmpdir", home,
		"copy", "--dest-tls-verify=false", "oci-archive:"+l.archive+":v1", "docker://"+l.addr+"/"+repo+":v1")
	if err == nil {
		err = l.pushed(o, repo)
	}
	return p.sample, err
}

func (l *lab) craneAppend(o *outcome) (sample, error) {
	if l.layerTar == "" {
		l.layerTar = filepath.Join(l.dir, "layer.tar")
		if err := l.writeTar(l.layerTar); err != nil {
			return sample{}, err
		}
		defer os.Remove(l.layerTar) // the file is on tmpfs and needs 1.4 GB of memory
	}
	l.counter++
	repo := fmt.Sprintf("peer-%d", l.counter)
	p, err := l.timed([]string{"HOME=" + l.dir}, l.crane, "append", "--insecure", "--oci-empty-base",
		"-f", l.layerTar, "-t", l.addr+"/"+repo+":v1")
	if err == nil {
		err = l.pushed(o, repo)
	}
	l.layerTar = ""
	return p.sample, err
}

// nix2container hashes the layers and then pushes them. before describes an earlier push of
// the system without a variant: "warm" means from this machine, "fresh" means from another
// machine. The measured time does not include hashing unchanged layers, because Nix already
// has their hashes or downloads them.
func (l *lab) nix2container(o *outcome, before, variant string, via func(addr string) (string, error)) (sample, error) {
	home, err := l.fresh()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(home)
	l.counter++
	repo := fmt.Sprintf("peer-%d", l.counter)
	if before != "-" {
		if !fileExists(l.repository("peer-base")) {
			warm := filepath.Join(l.dir, "peer-warm")
			if err := os.Mkdir(warm, 0o755); err != nil {
				return sample{}, err
			}
			if _, err := l.nix2containerPush(warm, l.addr, "peer-base", "", true); err != nil {
				return sample{}, err
			}
		}
		if err := os.CopyFS(l.repository(repo), os.DirFS(l.repository("peer-base"))); err != nil {
			return sample{}, err
		}
	}
	if before == "warm" {
		if err := os.CopyFS(home, os.DirFS(filepath.Join(l.dir, "peer-warm"))); err != nil {
			return sample{}, err
		}
	}
	addr := l.addr
	if via != nil {
		if addr, err = via(addr); err != nil {
			return sample{}, err
		}
	}
	s, err := l.nix2containerPush(home, addr, repo, variant, before == "-" || variant != "")
	if err == nil {
		err = l.pushed(o, repo)
	}
	return s, err
}

// nix2containerSlowly runs nix2container over the slow link.
func (l *lab) nix2containerSlowly(o *outcome, before, variant string) (sample, error) {
	var link *slowLink
	defer func() {
		if link != nil {
			link.Close()
		}
	}()
	return l.nix2container(o, before, variant, func(addr string) (string, error) {
		var err error
		if link, err = newSlowLink(addr, latency, bandwidth); err != nil {
			return "", err
		}
		return link.Addr(), nil
	})
}

func (l *lab) nix2containerPush(home, addr, repo, variant string, hashing bool) (sample, error) {
	graph := filepath.Join(home, "graph.json")
	data, err := os.ReadFile(filepath.Join(l.large, system1+variant+".json"))
	if err != nil {
		return sample{}, err
	}
	// nix2container reads a graph that Nix writes as an attribute. This graph has fewer
	// fields.
	var paths []map[string]any
	if err := json.Unmarshal(data, &paths); err != nil {
		return sample{}, err
	}
	for _, p := range paths {
		p["closureSize"] = 0
	}
	if data, err = json.Marshal(paths); err != nil {
		return sample{}, err
	}
	history, config := filepath.Join(home, "history.json"), filepath.Join(home, "config.json")
	layers, image := filepath.Join(home, "layers.json"), filepath.Join(home, "image.json")
	for file, content := range map[string]string{graph: string(data), history: `{"created_by":"nix2container"}`, config: "{}"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return sample{}, err
		}
	}
	env := []string{"HOME=" + home, "XDG_DATA_HOME=" + home}
	program, transport := filepath.Join(l.n2c, "nix2container"), filepath.Join(l.n2c, "nix2container-push")
	var sum sample
	for i, args := range [][]string{
		{program, "layers-from-reproducible-storepaths", layers, graph, "--max-layers", "100", "--history", history},
		{program, "image", image, config, layers, "--arch", "amd64"},
		{transport, image, addr + "/" + repo + ":v1"},
	} {
		p, err := l.timed(env, args...)
		if err != nil {
			return sample{}, err
		}
		if !hashing && i == 0 {
			continue
		}
		wall := sum.Wall + p.Wall
		sum = sample{Wall: wall, CPU: sum.CPU + p.CPU, Registry: sum.Registry + p.Registry, Peak: max(sum.Peak, p.Peak),
			Others: (sum.Others*sum.Wall + p.Others*p.Wall) / wall}
	}
	return sum, nil
}

// pushed reads the sizes of the image that another tool has pushed.
func (l *lab) pushed(o *outcome, repo string) error {
	var m ocispec.Manifest
	if err := l.getManifest(repo, "v1", ocispec.MediaTypeImageManifest+","+mediatype.DockerManifest, &m); err != nil {
		return err
	}
	return o.setLayers(repo, m.Layers)
}

// setLayers records the number and the sizes of the layers in repo. An image without layers
// is an error.
func (o *outcome) setLayers(repo string, layers []ocispec.Descriptor) error {
	if len(layers) == 0 {
		return fmt.Errorf("the manifest of %s has no layers", repo)
	}
	o.Image, o.Layers = 0, len(layers)
	for _, d := range layers {
		o.Image += d.Size
	}
	return nil
}
