package layers

// The digests of the layer in TestPackGolden, for format version 1.
const goldenDiffID = "sha256:46ad57b72fd9c74a1ba85db3061ab56e1830b09fcc2d51b17dac02d6f2c2e3df"

var goldenDigests = map[string]string{
	"gzip:1":  "sha256:02d3eb974e074a810853f37030e85d286d0ac9e4e1dde2bd550ba44021911cc3",
	"gzip":    "sha256:4d11d3dfea2222c3f3b7c2996a7f4f4c52f15e2c9d98eba0895c12221b7c50b4",
	"gzip:9":  "sha256:40f1cb91a80ee0d78e4c412bb88ec7a6e64938dca6eaa081a96ed105e7f6e274",
	"zstd:1":  "sha256:94b08d59d28033f67c67ddb348f349230ca34c5fa3f9198915cecb7044899019",
	"zstd":    "sha256:d910891107271210ce536c295ca907fc56546be0f3985f1444e7919008948b1f",
	"zstd:7":  "sha256:cab8909c7fd23cc14690a9953f5657f641dfb8b2be4ca393f384b11b66054f60",
	"zstd:11": "sha256:c9e87d29bb3b995af7ad2d845ec50e3958530e626da5c6668efeba430fcc9c0b",
	"none":    "sha256:46ad57b72fd9c74a1ba85db3061ab56e1830b09fcc2d51b17dac02d6f2c2e3df",
}
