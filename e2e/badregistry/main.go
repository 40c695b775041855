// Command badregistry runs a registry in memory that makes errors on purpose. Use it to try
// clients by hand:
//
//	go run ./e2e/badregistry -seed 7
//	go run ./e2e/badregistry -script 'patch cut-half after 2; put-tag lost'
//	go run ./e2e/badregistry -script 'any 503 times 3' -tokens
//
// It prints its address on stdout, and later each error on stderr. The package
// internal/registry/registrytest defines the classes of requests and the kinds of errors. The
// tests of internal/push and internal/verify use the same package.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	seed := flag.Uint64("seed", 0, "one to four faults that a client can outlive, chosen by this number")
	lasting := flag.Uint64("lasting", 0, "one fault that does not go away, chosen by this number")
	script := flag.String("script", "", "faults: CLASS KIND [after N] [times N|always], several between semicolons")
	tokens := flag.Bool("tokens", false, "want tokens, for user "+registrytest.User+" with password "+registrytest.Password)
	lifetime := flag.Duration("token-lifetime", 5*time.Minute, "of each token")
	flag.Parse()
	faults, err := registrytest.ParseScript(*script)
	if err != nil {
		log.Fatal(err)
	}
	if *seed != 0 {
		faults = append(faults, registrytest.Seeded(*seed, registrytest.PushClasses)...)
	}
	if *lasting != 0 {
		faults = append(faults, registrytest.Lasting(*lasting, registrytest.PushClasses)...)
	}
	reg := registrytest.New()
	reg.Strict = true
	var server *registrytest.Tokens
	if *tokens {
		server = registrytest.NewTokens(reg, *lifetime)
	}
	bad := registrytest.NewFaults(reg, server, faults)
	bad.Happened = func(what string) { log.Print(what) }
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range faults {
		log.Printf("fault: %s", f)
	}
	fmt.Println(l.Addr())
	log.Fatal((&http.Server{Handler: bad, ReadHeaderTimeout: time.Minute}).Serve(l))
}
