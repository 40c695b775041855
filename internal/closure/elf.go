package closure

import (
	"debug/elf"
	"encoding/binary"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// elfMachines maps the architectures of OCI to the machine, class and byte order in
// an ELF header.
var elfMachines = map[string]struct {
	machine elf.Machine
	class   elf.Class
	data    elf.Data
}{
	"386":      {elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB},
	"amd64":    {elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"arm":      {elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB},
	"arm64":    {elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"loong64":  {elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"mips64le": {elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"ppc64":    {elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2MSB},
	"ppc64le":  {elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"riscv64":  {elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB},
	"s390x":    {elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB},
}

// ELFHead is the number of bytes that [ELFPlatform] reads from the start of a
// file.
const ELFHead = 20

// ELFPlatform returns the platform of an ELF program or shared library that
// begins with head. For 32-bit arm, it returns the variant v7, as containerd does,
// because an ELF header does not contain the version of arm.
func ELFPlatform(head []byte) (ocispec.Platform, bool) {
	if len(head) < ELFHead || string(head[:4]) != elf.ELFMAG {
		return ocispec.Platform{}, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	if kind := elf.Type(order.Uint16(head[16:])); kind != elf.ET_EXEC && kind != elf.ET_DYN {
		return ocispec.Platform{}, false
	}
	for arch, m := range elfMachines {
		if m.machine == elf.Machine(order.Uint16(head[18:])) && m.class == elf.Class(head[elf.EI_CLASS]) && m.data == elf.Data(head[elf.EI_DATA]) {
			p := ocispec.Platform{OS: "linux", Architecture: arch}
			if arch == "arm" {
				p.Variant = "v7"
			}
			return p, true
		}
	}
	return ocispec.Platform{}, false
}
