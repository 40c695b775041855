package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/manifest"
)

// initNone is the value of --init for images without a layer for nixoci-init.
const initNone = "none"

// initFlag holds the values of --init: files, or "none".
type initFlag struct{ values []string }

func (i *initFlag) add(f *pflag.FlagSet, usage string) {
	f.StringArrayVar(&i.values, "init", nil, usage)
}

// choice reads the files that --init names.
func (i *initFlag) choice() (*manifest.InitChoice, error) {
	c := &manifest.InitChoice{}
	for _, v := range i.values {
		if v == initNone {
			if len(i.values) > 1 {
				return nil, usagef("--init none: cannot be used with other values of --init")
			}
			c.None = true
			return c, nil
		}
		data, err := readProgram(v)
		if err != nil {
			return nil, fmt.Errorf("--init: %w", err)
		}
		c.Files = append(c.Files, manifest.InitFile{Name: "--init " + v, Data: data})
	}
	return c, nil
}

// readProgram reads a program from a file of at most manifest.MaxInit bytes.
func readProgram(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, manifest.MaxInit+1))
	if err != nil {
		return nil, err
	}
	if len(data) > manifest.MaxInit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, manifest.MaxInit)
	}
	return data, nil
}
