package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/task"
	"github.com/nixoci/nixoci/internal/terminal"
)

// progress shows on stderr how far a push or verification is. On a terminal it redraws a few
// lines. Without a terminal it prints one line every few seconds.
//
// The text depends only on the state and the time: see [progress.lines] and [progress.line].
// Libraries such as mpb were not used for two reasons. They write directly to the terminal,
// without the printer that makes the names of layers harmless. They also have no form of
// output for logs.
type progress struct {
	w       *terminal.Printer
	live    bool // true: stderr is a terminal
	quiet   bool
	verbose bool
	paint   func(color string, s terminal.Own) terminal.Own
	now     func() time.Time
	width   func() int
	sent    func() int64 // returns the bytes sent so far; nil if the command sends nothing

	mu       sync.Mutex
	start    time.Time
	bars     []*bar
	barsOf   map[*layers.Layer][]*bar
	working  []*layers.Layer // layers that are being made, in the order in which they began
	begun    time.Time       // time when the first byte was read
	layers   int
	finished int
	read     int64 // bytes of store paths that were read
	made     int64 // bytes of new layers
	reused   int64 // bytes of store paths that were not read, because their layers were reused
	keeps    bool  // true: finished layers are kept if the command is interrupted
	drawn    int   // number of lines on the screen
	stop     chan struct{}
	stopped  sync.WaitGroup
}

// bar describes the progress of one platform, or of a whole verification.
type bar struct {
	name        string
	done, total int64
}

const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 5 * time.Second // interval between lines without a terminal
	leastBar    = 5               // least width in columns; a shorter bar is not shown
)

func (a *app) newProgress() *progress {
	p := &progress{w: a.stderr, live: a.terminal() && !a.verbose, quiet: a.quiet, verbose: a.verbose, paint: a.paint,
		now: time.Now, width: func() int { return columns(a.stderr.Raw()) }, barsOf: map[*layers.Layer][]*bar{}}
	p.start = p.now()
	a.progress = p
	return p
}

// Start implements push.Progress.
func (p *progress) Start(platforms []push.PlatformLayers) {
	p.mu.Lock()
	seen := map[*layers.Layer]bool{}
	for _, platform := range platforms {
		b := &bar{name: platform.Platform}
		p.bars = append(p.bars, b)
		for _, l := range platform.Layers {
			b.total += l.Size
			p.barsOf[l] = append(p.barsOf[l], b)
			seen[l] = true
		}
	}
	p.layers = len(seen)
	p.mu.Unlock()
	p.begin()
}

// begin starts the output.
func (p *progress) begin() {
	if p.quiet || p.stop != nil {
		return
	}
	every := lineEvery
	if p.live {
		every = redrawEvery
	}
	p.stop = make(chan struct{})
	p.stopped.Go(func() {
		defer task.Guard()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show()
			case <-p.stop:
				return
			}
		}
	})
}

// show redraws the lines on a terminal, or prints one line to a log.
func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		p.draw()
		return
	}
	p.w.Printf("%s\n", p.line(p.now()))
}

// Packing implements push.Progress.
func (p *progress) Packing(l *layers.Layer, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.working, l) {
		p.working = append(p.working, l)
	}
	p.went(int64(bytes), p.barsOf[l])
}

// went adds bytes that were read to the totals and to bars.
func (p *progress) went(bytes int64, bars []*bar) {
	if p.begun.IsZero() {
		p.begun = p.now()
	}
	p.read += bytes
	for _, b := range bars {
		b.done = min(b.total, b.done+bytes)
	}
}

// Done implements push.Progress.
func (p *progress) Done(r push.LayerResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished++
	p.working = slices.DeleteFunc(p.working, func(l *layers.Layer) bool { return l == r.Layer })
	how := string(r.Outcome)
	if r.Outcome == push.Reused || r.Outcome == push.Present || r.Outcome == push.Mounted {
		p.reused += r.Layer.Size
		for _, b := range p.barsOf[r.Layer] {
			b.done = min(b.total, b.done+r.Layer.Size)
		}
		if r.ReusedFrom != "" {
			how += " from " + r.ReusedFrom
		}
	} else {
		p.made += r.Packed.Size
	}
	if p.quiet || !p.verbose {
		return
	}
	p.w.Printf("%*d/%d  %s  %9s → %-9s %s  %s\n", len(fmt.Sprint(p.layers)), p.finished, p.layers,
		r.Packed.Digest.Encoded()[:12], human.Bytes(r.Packed.UncompressedSize), human.Bytes(r.Packed.Size), how, r.Layer.Comment)
}

// sums adds up the bytes of all bars. The bytes of a layer that two platforms share are added
// twice.
func (p *progress) sums() (done, total int64) {
	for _, b := range p.bars {
		done, total = done+b.done, total+b.total
	}
	return done, total
}

// pace returns the speed and the remaining time, or "" if it is too early to estimate them.
func (p *progress) pace(now time.Time) string {
	took := now.Sub(p.begun)
	if p.begun.IsZero() || took < time.Second || p.read == 0 {
		return ""
	}
	rate := float64(p.read) / took.Seconds()
	text := human.Bytes(int64(rate)) + "/s"
	if done, total := p.sums(); done < total {
		text += ", " + human.Duration(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return text
}

// amounts returns how many bytes were read, made, reused and sent.
func (p *progress) amounts() string {
	text := "read " + human.Bytes(p.read)
	if p.made > 0 {
		text += ", made " + human.Bytes(p.made)
	}
	if p.reused > 0 {
		text += ", reused " + human.Bytes(p.reused)
	}
	if p.sent != nil {
		text += ", sent " + human.Bytes(p.sent())
	}
	return text
}

// line returns the state as one line, for logs.
func (p *progress) line(now time.Time) string {
	done, total := p.sums()
	text := fmt.Sprintf("%3.0f%% of %s in %s: %d of %s", percent(done, total), human.Bytes(total), human.Duration(now.Sub(p.start)),
		p.finished, human.Count(p.layers, "layer"))
	if n := len(p.working); n > 0 {
		text += fmt.Sprintf(", %d in work", n)
	}
	text += "; " + p.amounts()
	if pace := p.pace(now); pace != "" {
		text += "; " + pace
	}
	return text
}

// lines returns the state for a terminal with width columns: the bars, the amounts, and the
// layers that are being made.
func (p *progress) lines(now time.Time, width int) []terminal.Own {
	names := 0
	if len(p.bars) > 1 {
		for _, b := range p.bars {
			names = max(names, len(b.name)+2)
		}
	}
	var all []terminal.Own
	for _, b := range p.bars {
		before := ""
		if names > 0 {
			before = fmt.Sprintf("%-*s", names, b.name)
		}
		share := percent(b.done, b.total)
		after := fmt.Sprintf(" %3.0f%%  %s of %s", share, human.Bytes(b.done), human.Bytes(b.total))
		room := width - 1 - len(before) - len(after)
		if room < leastBar {
			all = append(all, clip(before+after, width))
			continue
		}
		full := int(share / 100 * float64(room))
		all = append(all, terminal.Own(terminal.Visible(before))+p.paint(green, terminal.Own(strings.Repeat("━", full)))+
			p.paint(faint, terminal.Own(strings.Repeat("─", room-full)))+terminal.Own(after))
	}
	about := p.amounts()
	if pace := p.pace(now); pace != "" {
		about = pace + "; " + about
	}
	all = append(all, clip(human.Duration(now.Sub(p.start))+"; "+about, width))
	if p.layers > 0 {
		work := fmt.Sprintf("%d of %s", p.finished, human.Count(p.layers, "layer"))
		for i, l := range p.working {
			sep := "; "
			if i == 0 {
				sep = "; now "
			}
			work += sep + l.Comment
		}
		all = append(all, clip(work, width))
	}
	return all
}

func percent(done, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return 100 * float64(done) / float64(total)
}

// clip makes control characters in text visible, and cuts the text to the width of the
// terminal.
func clip(text string, width int) terminal.Own {
	runes := []rune(terminal.Visible(text))
	if room := max(1, width-1); len(runes) > room {
		runes = append(runes[:room-1], '…')
	}
	return terminal.Own(runes)
}

// draw replaces the lines on the screen with new ones.
func (p *progress) draw() {
	lines := p.lines(p.now(), p.width())
	text := p.up()
	for _, l := range lines {
		text += l + "\x1b[K\n"
	}
	p.w.Printf("%s\x1b[J", text)
	p.drawn = len(lines)
}

// up returns the sequence that moves the cursor to the first drawn line.
func (p *progress) up() terminal.Own {
	if p.drawn == 0 {
		return "\r"
	}
	return terminal.Own(fmt.Sprintf("\r\x1b[%dA", p.drawn))
}

// erase removes the drawn lines.
func (p *progress) erase() {
	if p.drawn > 0 {
		p.w.Printf("%s\x1b[J", p.up())
		p.drawn = 0
	}
}

// above calls print, and makes its output appear above the drawn lines.
func (p *progress) above(print func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := p.drawn > 0
	p.erase()
	print()
	if again {
		p.draw()
	}
}

// end stops the output and removes the drawn lines. It may be called several times.
func (p *progress) end() {
	if p.stop != nil {
		close(p.stop)
		p.stopped.Wait()
		p.stop = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

// kept describes what an interrupted command has finished and stored. It returns "" if there
// is nothing.
func (p *progress) kept() string {
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.keeps || p.finished == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %d finished and kept; the same command goes on from there", human.Count(p.finished, "layer"), p.layers)
}
