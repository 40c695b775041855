package main

import (
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/report"
)

// What --attest takes.
const (
	attestClosure    = "closure"
	attestSBOM       = "sbom" // in the format that the sbom command has by default
	attestProvenance = "provenance"
)

// documentsToAttach are those that --attest names, of a push with this job.
func documentsToAttach(kinds []string, builder string, job *push.Job) (*attest.Documents, error) {
	d := &attest.Documents{Build: attest.Build{Builder: builder, Version: version, Format: manifest.CurrentFormat,
		Compression: job.Compression.String(), Settings: attest.BuildSettings(&job.Settings)}}
	var formats []string
	for _, k := range kinds {
		switch k {
		case attestClosure:
			d.Closure = true
		case attestProvenance:
			d.Provenance = true
		case attestSBOM, report.FormatSPDX, report.FormatCycloneDX:
			if k == attestSBOM {
				k = report.FormatSPDX
			}
			if !slices.Contains(formats, k) {
				formats = append(formats, k)
			}
		default:
			return nil, usageError{hint.Add(fmt.Errorf("--attest %q: unknown", k), "closure, sbom (or spdx, cyclonedx), provenance")}
		}
	}
	if len(formats) > 0 {
		d.SBOM = func(sys *manifest.System) ([]oci.Artifact, error) {
			return report.SBOMs(sys, formats, job.Settings.Created)
		}
	}
	return d, nil
}
