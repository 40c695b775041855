package limit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Error reports that input is larger than its limit.
type Error struct {
	What string // kind of input, such as "narinfo"
	Max  int64  // the limit in bytes
}

func (e *Error) Error() string { return fmt.Sprintf("%s: more than %d bytes", e.What, e.Max) }

// ErrSpecial is wrapped by errors about special files. Reading a named pipe can block for
// ever, and reading a device may never end.
var ErrSpecial = errors.New("not a regular file")

// OpenFile opens a regular file for reading. It follows symlinks, because a file
// named on the command line may be a link.
func OpenFile(name string) (*os.File, error) {
	// OpenFile checks the file before opening it, because opening a device can have side
	// effects. It checks the file again afterwards, because another process may have replaced
	// it. O_NONBLOCK makes open return at once for a named pipe.
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := checkRegular(name, st); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return regular(f)
}

func regular(f *os.File) (*os.File, error) {
	st, err := f.Stat()
	if err == nil {
		err = checkRegular(f.Name(), st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkRegular(name string, st fs.FileInfo) error {
	kind := ""
	switch mode := st.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	default:
		kind = "a special file"
	}
	return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("%w, but %s", ErrSpecial, kind)}
}

// ReadNamed reads a file that a flag names, of at most limit bytes. The file may be a pipe:
// with <(command), the shell passes a key without storing it in a file.
func ReadNamed(name string, limit int64) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Mode()&fs.ModeNamedPipe == 0 {
		return ReadFile(name, limit)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadAll(f, name, limit)
}

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(name string, limit int64) ([]byte, error) {
	f, err := OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadOpenFile(f, limit)
}

// ReadOpenFile reads the rest of a file of at most limit bytes. If the size of the file is
// above the limit, it reads nothing.
func ReadOpenFile(f *os.File, limit int64) ([]byte, error) {
	tooLarge := &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("more than %d bytes", limit)}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, tooLarge
	}
	var b bytes.Buffer
	b.Grow(int(st.Size()) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, tooLarge
	}
	return b.Bytes(), nil
}

// ReadAll reads r to its end. If r has more than limit bytes, it returns an [*Error]. what is
// the kind of input.
func ReadAll(r io.Reader, what string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &Error{what, limit}
	}
	return data, nil
}
