//go:build linux

package guest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// terminal starts CopyConsole on a new pseudoterminal. dev stands for /dev/console, out
// receives the copy, and stop ends the copying.
func terminal(t *testing.T) (dev, out *os.File, stop func() error) {
	t.Helper()
	master, slave, name, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	dev, err = os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stopped, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		err := CopyConsole(int(master.Fd()), int(slave.Fd()), int(w.Fd()), int(stopped.Fd()))
		for _, f := range []*os.File{w, master, slave, stopped} {
			f.Close()
		}
		result <- err
	}()
	end := sync.OnceValue(func() error {
		tell.Close()
		select {
		case err := <-result:
			return err
		case <-time.After(10 * time.Second):
			return fmt.Errorf("the console does not end")
		}
	})
	t.Cleanup(func() { end(); dev.Close(); out.Close() })
	return dev, out, end
}

func TestConsoleCopiesBytesAsTheyAre(t *testing.T) {
	dev, out, stop := terminal(t)
	const text = "Welcome\n\ttabs, \x1b[0m escapes, ünïcödé\nand no end of line"
	if _, err := io.WriteString(dev, text); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out)
	if err != nil || string(got) != text {
		t.Errorf("got %q, %v; want %q", got, err, text)
	}
}

// systemd opens and closes the console for every line that it writes.
func TestConsoleSurvivesClose(t *testing.T) {
	dev, out, stop := terminal(t)
	for i := range 3 {
		again, err := os.OpenFile(dev.Name(), os.O_WRONLY|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			dev.Close() // from now on, only the child holds the slave between two lines
		}
		fmt.Fprintf(again, "line %d\n", i)
		again.Close()
		time.Sleep(10 * time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(out); string(got) != "line 0\nline 1\nline 2\n" {
		t.Errorf("got %q", got)
	}
}

func TestConsoleLosesNothingOfAFlood(t *testing.T) {
	dev, out, stop := terminal(t)
	const lines = 20000
	var got []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, _ = io.ReadAll(out)
	}()
	for i := range lines {
		fmt.Fprintf(dev, "%05d of a flood\n", i)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	<-done
	found := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	if len(found) != lines {
		t.Fatalf("got %d lines, want %d", len(found), lines)
	}
	for i, line := range found {
		if want := fmt.Sprintf("%05d of a flood", i); line != want {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

// If nobody reads the log, writers to the console must not block. A late reader must
// learn how many bytes it missed.
func TestConsoleDoesNotWaitForItsReader(t *testing.T) {
	dev, out, stop := terminal(t)
	line := strings.Repeat("x", 4095) + "\n"
	last := strings.Repeat("y", 4095) + "\n"
	written := make(chan error, 1)
	const lines = consoleSpool/4096 + 512
	go func() {
		for range lines {
			if _, err := io.WriteString(dev, line); err != nil {
				written <- err
				return
			}
		}
		_, err := io.WriteString(dev, last)
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("writing to the console blocks when nobody reads it")
	}
	// Stop only after the last line: when the console ends, what is left has a second
	// to be copied, and the race detector needs longer for it.
	out.SetReadDeadline(time.Now().Add(time.Minute))
	var got []byte
	for buf := make([]byte, 64<<10); !bytes.HasSuffix(got, []byte(last)); {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		got = append(got, buf[:n]...)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("after the last line: %d bytes, %v", len(rest), err)
	}
	if !bytes.Contains(got, []byte("bytes of console output were given up")) {
		t.Error("nothing says that output was given up")
	}
	if !bytes.HasSuffix(got, []byte("\n"+line+last)) {
		t.Error("the last lines are not whole")
	}
	if len(got) < consoleSpool/2 {
		t.Errorf("only %d bytes were kept", len(got))
	}
}

func TestConsoleSurvivesReaderThatIsGone(t *testing.T) {
	dev, out, stop := terminal(t)
	out.Close()
	for i := range 100 {
		if _, err := fmt.Fprintf(dev, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestUnCR(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want string
	}{
		{[]string{"a\r\n", "b\r\r\nc"}, "a\nb\nc"},
		{[]string{"a\r", "\r", "\nb"}, "a\nb"},
		{[]string{"50 %\r100 %\r\n"}, "50 %\r100 %\n"},
		{[]string{"a\r", "b"}, "a\rb"},
	} {
		var u unCR
		var got strings.Builder
		for _, p := range tc.in {
			got.Write(u.filter([]byte(p)))
		}
		if got.String() != tc.want {
			t.Errorf("%q: got %q, want %q", tc.in, got.String(), tc.want)
		}
	}
}
