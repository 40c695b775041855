package main

import (
	"fmt"
	"slices"
	"strings"
)

// busyOthers is a limit for the share of other processes. If their share is larger, a time
// depends more on them than on the measured process.
const busyOthers = 0.10

// pageWriter writes Markdown.
type pageWriter struct{ strings.Builder }

func (p *pageWriter) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func mb(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

func wall(s sample) float64     { return s.Wall }
func cpu(s sample) float64      { return s.CPU }
func registry(s sample) float64 { return s.Registry }
func peak(s sample) float64     { return float64(s.Peak) }
func others(s sample) float64   { return s.Others }

// page returns the text of docs/benchmarks.md.
func (r *results) page() string {
	p := &pageWriter{}
	p.line("# Benchmarks")
	p.line("")
	p.line("Written by `make bench` from [benchmarks.json](benchmarks.json). Do not edit this page. Real Nix made a NixOS system of %d store paths and %.2f GB from Debian packages (`e2e/debstore`). The cases push this system to Debian's docker-registry over loopback. The registry stores its files on a tmpfs.", r.System.Paths, float64(r.System.NarSize)/1e9)
	p.line("%s A proxy counted bytes and requests in a separate run.", r.repetitions())
	p.line("")
	p.line("Machine: %d × %s, Linux %s, %s. Load average before: %s, after: %s.", r.Machine.CPUs, r.Machine.CPU, r.Machine.Kernel, r.Machine.Go, r.Machine.LoadBefore, r.Machine.LoadAfter)
	p.line("\"Others\" is the share of all processors that other processes took while a case ran. Above %.0f %% (marked !), wall times say little. Compare processor times then.", busyOthers*100)
	p.line("")
	p.line("%s", kinds)
	p.cases(r, "From a store, and from a binary cache over http", func(n string) bool {
		return strings.HasPrefix(n, "store ") || strings.HasPrefix(n, "http ")
	})
	p.limit(r)
	p.line("")
	p.line("%s", bounds)
	p.verification(r)
	p.network(r)
	p.peers(r)
	return p.String()
}

// kinds describes the names of the cases.
const kinds = `In the cases *unchanged*, *configuration*, *one leaf* and *update*, the registry already has an image of the system. *Unchanged* pushes the same system again. *Configuration* changes only the message of the day and a page of nginx. *One leaf* changes one package to which only the system refers.
*Update* rebuilds a library on which many packages depend, and ten other packages, and adds three packages. This changes 38 % of the bytes. The *same machine* pushed the image before. A *fresh machine* has no cache.`

// repetitions returns a sentence about how often the cases ran.
func (r *results) repetitions() string {
	most := 0
	for _, o := range r.Cases {
		most = max(most, len(o.Runs))
	}
	if most == 1 {
		return "Each case ran once."
	}
	return fmt.Sprintf("Each case ran %d times, the slowest ones once. The runs of all cases are interleaved, and the times are medians.", most)
}

// bounds describes what profiles (pprof, perf) show. A person writes this text and must
// update it.
const bounds = `The compressor and sha256 limit the speed of a cold push. With gzip, deflate takes 74 % of the processor time and sha256 20 %. With zstd, the compressor takes 57 %, sha256 20 % and copies inside the compressor 5 %.
Reading and the socket take the rest. The Go runtime takes less than 1 %. nixoci reads each byte straight into a block. It hashes (narHash and diffID) and compresses the block in place, and sends the compressed buffer to the socket.
nixoci compresses several blocks at the same time, of one layer or of several, and starts with the largest layers. So all processors are busy to the end.
Reading, the narHash, the diffID, the digest of the blob and sending each go through a layer from its first byte to its last. They do so at the same time. So with many processors, a layer takes as long as one sha256 over its tar, about 0.7 s for each GB. It cannot take less time, because a diffID cannot be computed in parts.
From a binary cache, decompressing a NAR is part of reading. xz is slower than sha256, so a layer then takes as long as xz needs for its NARs, one after the other.
With zstd, the limit was measured with one stream. nixoci makes frames of 2 MiB instead, so that all processors can work on one layer. The frames cost 5 % of the compressor's time and 2.8 % of the size. The tables of the compressor (1.3 MB) and its history (2 MiB) do not fit into a cache of 2 MiB together with the blocks that are hashed. Larger frames need more memory: with frames of 8 MiB the image is 2.2 % smaller, with 16 MiB 2.5 %. No setting of the compressor saves 3 % at the same processor time.
Profile-guided optimization of the compressors changes less than 1 %, so nixoci does not use it. Asynchronous preemption makes no difference, so nixoci leaves it on.`

// names returns the names of the cases for which f is true, in the order of the matrix.
func (r *results) names(f func(string) bool) []string {
	var all []string
	for _, k := range new(lab).withPeers().cases() {
		if r.Cases[k.name] != nil && len(r.Cases[k.name].Runs) > 0 && f(k.name) {
			all = append(all, k.name)
		}
	}
	return all
}

// withPeers enables the cases of all other tools.
func (l *lab) withPeers() *lab {
	l.config = &config{crane: "crane", n2c: "nix2container"}
	return l
}

func (p *pageWriter) cases(r *results, title string, f func(string) bool) {
	names := r.names(f)
	if len(names) == 0 {
		return
	}
	p.line("")
	p.line("## %s", title)
	p.line("")
	p.line("| case | wall s | cpu s | registry cpu s | peak MB | requests | sent MB | NARs fetched MB | of those needed | narinfos MB | image MB | layers made MB | others |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, n := range names {
		o := r.Cases[n]
		requests, sent, nars, needed, narinfos := "", "", "", "", ""
		if t := o.Counted; t != nil {
			requests, sent = fmt.Sprint(t.Requests), mb(t.Sent)
			if strings.HasPrefix(n, "http ") {
				nars, narinfos = mb(t.Nars), mb(t.Narinfos)
				if t.NarsNeeded > 0 {
					needed = fmt.Sprintf("%.3f ×", float64(t.Nars)/float64(t.NarsNeeded))
				}
			}
		}
		image, made := "", ""
		if o.Image > 0 {
			image, made = mb(o.Image), mb(o.Made)
		}
		p.line("| %s | %.2f | %.2f | %.2f | %.0f | %s | %s | %s | %s | %s | %s | %s | %s |", n, o.median(wall), o.median(cpu), o.median(registry),
			o.median(peak)/1e6, requests, sent, nars, needed, narinfos, image, made, o.othersText())
	}
}

func (o *outcome) othersText() string {
	share := o.median(others)
	mark := ""
	if share > busyOthers {
		mark = " !"
	}
	return fmt.Sprintf("%.0f %%%s", share*100, mark)
}

func (p *pageWriter) limit(r *results) {
	if r.Limit.TarSize == 0 {
		return
	}
	p.line("")
	p.line("## What the machine can do")
	p.line("")
	p.line("Each step over the same %.2f GB was measured alone, in one thread. Reading every file takes %.2f processor seconds. One sha256 takes %.2f, and a push needs two: the narHash and the diffID. The table has the", float64(r.Limit.TarSize)/1e9, r.Limit.Read, r.Limit.SHA256)
	p.line("compression of one stream at nixoci's default level, and the sha256 of its output. The limit of a cold push is the sum of these and of the registry's own time, divided by %d processors.", r.Machine.CPUs)
	p.line("")
	p.line("| | compression s | sha256 of it s | stream MB | nixoci MB | limit, cpu s | nixoci and registry, cpu s | work at the limit | limit, wall s | nixoci, wall s | speed at the limit | others |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, comp := range []string{"gzip", "zstd", "none"} {
		o, c := r.Cases["store "+comp+" cold"], r.Limit.Comp[comp]
		if o == nil || len(o.Runs) == 0 {
			continue
		}
		least := r.Limit.seconds(comp) + o.median(registry)
		took := o.median(cpu) + o.median(registry)
		leastWall := least / float64(r.Machine.CPUs)
		p.line("| %s | %.2f | %.2f | %s | %s | %.2f | %.2f | %.0f %% | %.2f | %.2f | %.0f %% | %s |", comp, c.Compress, c.SHA256, mb(c.Size), mb(o.Image),
			least, took, least/took*100, leastWall, o.median(wall), leastWall/o.median(wall)*100, o.othersText())
	}
}

func (p *pageWriter) network(r *results) {
	names := r.names(func(n string) bool { return strings.Contains(n, " ms: ") })
	if len(names) == 0 {
		return
	}
	p.line("")
	p.line("## Over a network")
	p.line("")
	p.line("These cases push from a store with gzip, through a relay. The cases without a name are nixoci's. The relay delays every byte by half of 30 ms each way, and a new connection by 30 ms more. In the cases with 100 Mbit/s it also limits the rate. The table gives the difference to the same case without the relay, in seconds and in round trips.")
	p.line("")
	p.line("| case | wall s | without s | lost s | round trips | others |")
	p.line("|---|--:|--:|--:|--:|--:|")
	for _, n := range names {
		_, what, _ := strings.Cut(n, ": ")
		o, direct := r.Cases[n], r.Cases["store gzip "+what]
		if strings.HasPrefix(what, "nix2container ") {
			direct = r.Cases["peer: "+what]
		}
		without, lost, trips := "", "", ""
		if direct != nil && len(direct.Runs) > 0 {
			d := o.median(wall) - direct.median(wall)
			without, lost = fmt.Sprintf("%.2f", direct.median(wall)), fmt.Sprintf("%.2f", d)
			if !strings.Contains(n, "Mbit") {
				trips = fmt.Sprintf("%.1f", d/latency.Seconds())
			}
		}
		p.line("| %s | %.2f | %s | %s | %s | %s |", n, o.median(wall), without, lost, trips, o.othersText())
	}
}

func (p *pageWriter) peers(r *results) {
	names := r.names(func(n string) bool { return strings.HasPrefix(n, "peer: ") })
	if len(names) == 0 {
		return
	}
	p.line("")
	p.line("## Beside other tools")
	p.line("")
	p.line("These cases ran together with those above. Each tool has its default settings. nixoci pushes the same system from its store. The archive and the tar that the others start from were made before, so their times do not include this. nix2container's times include the push, and the hashing of 100 layers unless nothing has changed.")
	p.line("nix2container: commit 20d3395 (March 2026). `bench/nix2container` pushes its images as its skopeo does, with containers/image 5.38.0 and that library's defaults (pgzip, level 5).")
	p.line("umoci and Nix's dockerTools do not push. skopeo pushes their images.")
	p.line("")
	p.line("| | wall s | cpu s | registry cpu s | peak MB | requests | sent MB | image MB | layers | nixoci gzip: wall | cpu | image | nixoci zstd: wall | cpu | image | others |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, n := range names {
		o := r.Cases[n]
		what := "cold"
		for _, w := range []string{"unchanged, same machine", "unchanged, fresh machine", "configuration, fresh machine", "update, fresh machine"} {
			if strings.HasSuffix(n, w) {
				what = w
			}
		}
		cells := []string{strings.TrimPrefix(n, "peer: "), fmt.Sprintf("%.2f", o.median(wall)), fmt.Sprintf("%.2f", o.median(cpu)),
			fmt.Sprintf("%.2f", o.median(registry)), fmt.Sprintf("%.0f", o.median(peak)/1e6)}
		if o.Counted != nil {
			cells = append(cells, fmt.Sprint(o.Counted.Requests), mb(o.Counted.Sent))
		} else {
			cells = append(cells, "", "")
		}
		cells = append(cells, mb(o.Image), fmt.Sprint(o.Layers))
		for _, comp := range []string{"gzip", "zstd"} {
			cells = append(cells, ratios(o, r.Cases["store "+comp+" "+what], what == "cold")...)
		}
		p.line("| %s |", strings.Join(append(cells, o.othersText()), " | "))
	}
}

// ratios returns how many times as fast as peer nixoci (own) is, in wall time and in
// processor time. If image is true, it also compares the sizes of the images.
func ratios(peer, own *outcome, image bool) []string {
	if own == nil || len(own.Runs) == 0 {
		return slices.Repeat([]string{""}, 3)
	}
	size := ""
	if image && peer.Image > 0 {
		size = fmt.Sprintf("%+.1f %%", (float64(own.Image)/float64(peer.Image)-1)*100)
	}
	return []string{
		fmt.Sprintf("%.1f ×", peer.median(wall)/own.median(wall)),
		fmt.Sprintf("%.1f ×", (peer.median(cpu)+peer.median(registry))/(own.median(cpu)+own.median(registry))),
		size,
	}
}
