package task

import (
	"strings"
	"sync"
	"testing"
)

func TestGuard(t *testing.T) {
	told := make(chan string, 3)
	OnPanic = func(v any, stack []byte) {
		if !strings.Contains(string(stack), "TestGuard") {
			t.Errorf("the stack is another: %s", stack)
		}
		told <- v.(string)
	}
	defer func() { OnPanic = nil }()
	Go(func() { panic("go") })
	if v := <-told; v != "go" {
		t.Error(v)
	}
	g, _ := WithContext(t.Context())
	g.SetLimit(1)
	g.Go(func() error { panic("group") })
	if err := g.Wait(); err != nil || <-told != "group" {
		t.Error(err)
	}
	var wg sync.WaitGroup
	wg.Go(Guarded(func() { panic("guarded") }))
	wg.Wait()
	if v := <-told; v != "guarded" {
		t.Error(v)
	}
}
