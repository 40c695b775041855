package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"github.com/nixoci/nixoci/internal/initbin"
)

// smallInitVariable is an environment variable of tests. If it is set, nixoci puts a small
// program into images instead of nixoci-init.
const smallInitVariable = "SMALL_INIT"

// useSmallInit makes nixoci put a static program of a few bytes into images, as if this
// program was nixoci-init. nixoci-init has 3 MB, ten times as much as a small system. The
// caller must call restore at the end.
func useSmallInit() (restore func()) {
	return initbin.Replace(map[string][]byte{
		// mov eax, SYS_exit; xor edi, edi; syscall
		"amd64": staticProgram(elf.EM_X86_64, []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05}),
		// mov x8, SYS_exit; mov x0, 0; svc 0
		"arm64": staticProgram(elf.EM_AARCH64, []byte{0xa8, 0x0b, 0x80, 0xd2, 0, 0, 0x80, 0xd2, 0x01, 0, 0, 0xd4}),
	})
}

// staticProgram returns an ELF file with this machine code as its only segment.
func staticProgram(machine elf.Machine, code []byte) []byte {
	const headers, address = 64 + 56, 0x400000
	header := elf.Header64{
		Ident:     [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     address + headers,
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     1,
	}
	size := uint64(headers + len(code))
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: address, Paddr: address, Filesz: size, Memsz: size, Align: 0x1000}
	var file bytes.Buffer
	for _, part := range []any{header, segment, code} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return file.Bytes()
}
