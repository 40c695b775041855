package closure

import (
	"debug/elf"
	"encoding/binary"
	"testing"
)

func TestELFPlatform(t *testing.T) {
	head := func(class elf.Class, data elf.Data, kind elf.Type, machine elf.Machine) []byte {
		b := make([]byte, ELFHead)
		copy(b, elf.ELFMAG)
		b[elf.EI_CLASS], b[elf.EI_DATA] = byte(class), byte(data)
		var order binary.ByteOrder = binary.LittleEndian
		if data == elf.ELFDATA2MSB {
			order = binary.BigEndian
		}
		order.PutUint16(b[16:], uint16(kind))
		order.PutUint16(b[18:], uint16(machine))
		return b
	}
	for want, b := range map[string][]byte{
		"x86_64-linux":      head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_X86_64),
		"aarch64-linux":     head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_DYN, elf.EM_AARCH64),
		"armv7l-linux":      head(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.ET_DYN, elf.EM_ARM),
		"i686-linux":        head(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_386),
		"powerpc64-linux":   head(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.ET_EXEC, elf.EM_PPC64),
		"powerpc64le-linux": head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_PPC64),
		"s390x-linux":       head(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.ET_EXEC, elf.EM_S390),
		"riscv64-linux":     head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_DYN, elf.EM_RISCV),
	} {
		p, ok := ELFPlatform(b)
		if system, known := NixSystem(p); !ok || !known || system != want {
			t.Errorf("%s: %v, %v", want, p, ok)
		}
	}
	for what, b := range map[string][]byte{
		"an object file":   head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_REL, elf.EM_X86_64),
		"x32":              head(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_X86_64),
		"big-endian arm64": head(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.ET_EXEC, elf.EM_AARCH64),
		"another machine":  head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_ALPHA),
		"a script":         []byte("#!/bin/sh\necho 0123456789\n"),
		"the start of one": head(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ET_EXEC, elf.EM_X86_64)[:ELFHead-1],
		"nothing":          nil,
	} {
		if p, ok := ELFPlatform(b); ok {
			t.Errorf("%s: %v", what, p)
		}
	}
}
