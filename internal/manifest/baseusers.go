package manifest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/layers"
)

// maxBaseFile is the size limit for /etc/passwd and /etc/group of a base image. The new
// image's own layer contains them too, and must be able to hold files of this size.
const maxBaseFile = 1 << 20 // bytes

// Users reads /etc/passwd and /etc/group of the base from its layers. It reads each layer to
// the end, because the digest can only be checked at the end.
func (b *Base) Users(ctx context.Context) (*application.BaseUsers, error) {
	files := baseFiles{}
	for _, l := range b.Layers {
		blob, err := b.Source.GetBlob(ctx, l.Descriptor)
		if err != nil {
			return nil, fmt.Errorf("read layer %s of the base image: %w", l.Digest, err)
		}
		files, err = files.above(blob, l.MediaType)
		if err == nil {
			_, err = io.Copy(io.Discard, blob)
		}
		blob.Close()
		if err != nil {
			return nil, errors.Join(context.Cause(ctx), fmt.Errorf("read layer %s of the base image: %w", l.Digest, err))
		}
	}
	for _, name := range []string{basePasswd, baseGroup} {
		if why := files[name].unusable; why != "" {
			return nil, fmt.Errorf("/%s of the base image: %s, so no user can be added", name, why)
		}
	}
	return &application.BaseUsers{Passwd: files[basePasswd].content, Group: files[baseGroup].content}, nil
}

const (
	basePasswd = "etc/passwd"
	baseGroup  = "etc/group"
)

// baseFiles maps the names of the files that list users to these files. It describes the
// state after some of the layers.
type baseFiles map[string]baseFile

type baseFile struct {
	content  []byte // nil if the file does not exist
	unusable string // why nixoci cannot add lines to the file; "" if it can
}

// above returns the files after one more layer. blob is the content of this layer.
func (f baseFiles) above(blob io.Reader, mediaType string) (baseFiles, error) {
	uncompressed, err := layers.Decompress(blob, mediaType)
	if err != nil {
		return nil, err
	}
	defer uncompressed.Close()
	removed, own := map[string]bool{}, baseFiles{}
	archive := tar.NewReader(uncompressed)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch name := strings.TrimPrefix(path.Clean("/"+h.Name), "/"); name {
		case basePasswd, baseGroup:
			if own[name], err = baseFileOf(h, archive); err != nil {
				return nil, err
			}
		case "etc":
			if h.Typeflag != tar.TypeDir {
				own[basePasswd] = baseFile{unusable: "/etc is not a directory"}
			}
		case "etc/.wh.passwd":
			removed[basePasswd] = true
		case "etc/.wh.group":
			removed[baseGroup] = true
		case ".wh.etc", "etc/.wh..wh..opq", ".wh..wh..opq":
			removed[basePasswd], removed[baseGroup] = true, true
		}
	}
	after := baseFiles{}
	for _, name := range []string{basePasswd, baseGroup} {
		after[name] = f[name]
		if removed[name] {
			after[name] = baseFile{}
		}
		if file, ok := own[name]; ok {
			after[name] = file
		}
	}
	return after, nil
}

// baseFileOf reads one file from a layer.
func baseFileOf(h *tar.Header, content io.Reader) (baseFile, error) {
	switch {
	case h.Typeflag != tar.TypeReg:
		return baseFile{unusable: "it is not a regular file"}, nil
	case h.Size > maxBaseFile:
		return baseFile{unusable: fmt.Sprintf("it has %d bytes, at most %d are read", h.Size, maxBaseFile)}, nil
	}
	data, err := io.ReadAll(content)
	return baseFile{content: data}, err
}
