//go:build linux

package guest

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// ioctl requests of asm-generic/ioctls.h, the same on amd64 and arm64.
const (
	tcgets      = 0x5401
	tcsets      = 0x5402
	tiocgptn    = 0x80045430 // get the number of a master's slave
	tiocsptlck  = 0x40045431 // lock or unlock the slave
	tiocgptpeer = 0x5441     // open the slave without a path
)

func ioctl(fd uintptr, request, arg uintptr) (uintptr, error) {
	for {
		r, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, arg)
		switch errno {
		case 0:
			return r, nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// openPTY returns both ends of a new pseudoterminal and the name of its slave. The slave
// changes no byte: it adds no \r before \n, and does not echo.
func openPTY() (master, slave *os.File, name string, err error) {
	// Open it in blocking mode, because a child inherits the descriptor as it is.
	fd, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, "", fmt.Errorf("open /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	var unlock int32
	if _, err = ioctl(uintptr(fd), tiocsptlck, uintptr(unsafe.Pointer(&unlock))); err != nil {
		return nil, nil, "", fmt.Errorf("unlock pseudoterminal: %w", err)
	}
	var n uint32
	if _, err = ioctl(uintptr(fd), tiocgptn, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, nil, "", fmt.Errorf("name pseudoterminal: %w", err)
	}
	name = "/dev/pts/" + strconv.FormatUint(uint64(n), 10)
	slave, err = openPeer(uintptr(fd), name)
	if err != nil {
		return nil, nil, "", err
	}
	if err = makeRaw(slave.Fd()); err != nil {
		slave.Close()
		return nil, nil, "", fmt.Errorf("set up %s: %w", name, err)
	}
	return master, slave, name, nil
}

// openPeer opens the slave of a master.
func openPeer(master uintptr, name string) (*os.File, error) {
	fd, err := ioctl(master, tiocgptpeer, syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open slave of pseudoterminal: %w", err)
	}
	return os.NewFile(fd, name), nil
}

func makeRaw(fd uintptr) error {
	var t syscall.Termios
	if _, err := ioctl(fd, tcgets, uintptr(unsafe.Pointer(&t))); err != nil {
		return err
	}
	t.Iflag &^= syscall.ICRNL | syscall.INLCR | syscall.IXON
	t.Oflag &^= syscall.OPOST
	t.Lflag &^= syscall.ECHO | syscall.ECHONL | syscall.ICANON | syscall.ISIG | syscall.IEXTEN
	_, err := ioctl(fd, tcsets, uintptr(unsafe.Pointer(&t)))
	return err
}
