// Package report shows people and programs what closures and images contain. It writes
// tables, pages, differences and bills of materials. The package only reads images and
// changes nothing.
//
// [ReadImage] reads an [Image] once, for every report about it. Each report is a struct that
// a program reads as JSON. Its methods write the same content as text, as markdown, or as an
// HTML page of package page:
//
//	[Inspect]       Image → Inspection         what is in an image               (inspect.go)
//	[Compare]       two Sides → Diff           what changed between two images   (diff.go)
//	[ReportPlan]    plan → PlanReport          which path is in which layer      (plan.go)
//	[CostOfUpdate]  plan → UpdateCost          what a client downloads           (plan.go)
//	[WriteSBOM]     closure → SPDX, CycloneDX  the bill of materials             (sbom.go)
//
// A [Side] of a comparison is an image, or a closure with a plan. [Image.Plans] returns the
// plans of an image, so that the layers of the next image can continue them.
package report
