package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/task"
	"github.com/nixoci/nixoci/internal/terminal"
)

// progress shows a push on stderr: one line that moves on a terminal, else one
// line for each finished layer.
type progress struct {
	app   *app
	w     *terminal.Printer
	live  bool
	quiet bool

	mu       sync.Mutex
	start    time.Time
	layers   int
	total    int64 // bytes of all layers' contents
	packed   int64 // bytes of tar packed, and of layers that were not to be made
	finished int
	reused   int
	drawn    bool
	stop     chan struct{}
	stopped  sync.WaitGroup
}

const redrawEvery = 100 * time.Millisecond

func (a *app) newProgress() *progress {
	return &progress{app: a, w: a.stderr, live: a.terminal() && !a.verbose, quiet: a.quiet, start: time.Now()}
}

// Start implements push.Progress.
func (p *progress) Start(all []*layers.Layer) {
	p.layers = len(all)
	for _, l := range all {
		p.total += l.Size
	}
	p.begin()
}

// begin starts to redraw the moving line.
func (p *progress) begin() {
	if p.quiet || !p.live || p.stop != nil {
		return
	}
	p.stop = make(chan struct{})
	p.stopped.Go(func() {
		defer task.Guard()
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.mu.Lock()
				p.draw()
				p.mu.Unlock()
			case <-p.stop:
				return
			}
		}
	})
}

// Packing implements push.Progress.
func (p *progress) Packing(_ *layers.Layer, bytes int) {
	p.mu.Lock()
	p.packed += int64(bytes)
	p.mu.Unlock()
}

// Done implements push.Progress.
func (p *progress) Done(r push.LayerResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished++
	how := string(r.How)
	if r.How == push.Reused {
		p.reused++
		p.packed += r.Layer.Size
		how += " (" + r.From + ")"
	}
	if p.quiet || p.live || r.How == push.Reused && !p.app.verbose {
		return
	}
	p.w.Printf("%*d/%d  %s  %9s → %-9s %s  %s\n", len(fmt.Sprint(p.layers)), p.finished, p.layers,
		r.Packed.Digest.Encoded()[:12], humanBytes(r.Packed.UncompressedSize), humanBytes(r.Packed.Size), how, r.Layer.Comment)
}

// draw redraws the moving line.
func (p *progress) draw() {
	const width = 30
	done := 1.0
	if p.total > 0 {
		done = min(1, float64(p.packed)/float64(p.total))
	}
	full := int(done * width)
	elapsed := time.Since(p.start)
	p.w.Printf("\r\x1b[K%s%s %3.0f%%  %d/%d layers  %s of %s  %s", p.app.paint(green, terminal.Own(strings.Repeat("━", full))),
		p.app.paint(faint, terminal.Own(strings.Repeat("─", width-full))), done*100, p.finished, p.layers, humanBytes(p.packed), humanBytes(p.total), humanTime(elapsed))
	p.drawn = true
}

// end clears the moving line. It may be called again.
func (p *progress) end() {
	if p.stop != nil {
		close(p.stop)
		p.stopped.Wait()
		p.stop = nil
	}
	if p.drawn {
		p.w.Printf("\r\x1b[K")
		p.drawn = false
	}
}
