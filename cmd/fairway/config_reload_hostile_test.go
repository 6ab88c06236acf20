package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/extproc"
)

// clients pick all the time until the function they return is called, and count which
// endpoint they got. None may fail.
func (r *reloading) clients(t *testing.T) (picked *[2]atomic.Int64, end func()) {
	picked = new([2]atomic.Int64)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				p := r.pick(t)
				switch p.Destinations {
				case "127.0.0.1:1":
					picked[0].Add(1)
				case "127.0.0.1:2":
					picked[1].Add(1)
				default:
					t.Errorf("destinations %q", p.Destinations)
					return
				}
				p.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
				time.Sleep(200 * time.Microsecond) // and leave others the processor
			}
		})
	}
	return picked, func() { stop(); all.Wait() }
}

// write puts a file in the place of the one that is followed, in one step.
func (m *mounted) write(text string) {
	m.t.Helper()
	for _, err := range []error{os.WriteFile(m.path+".new", []byte(text), 0o600), os.Rename(m.path+".new", m.path)} {
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestReloadOfAnything: whatever becomes of the file, requests are served by the policy
// that was in force, an event and the metrics tell, and the next good file is used.
func TestReloadOfAnything(t *testing.T) {
	r := startReloading(t, labelled("a"))
	picked, end := r.clients(t)
	defer end()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(r.file.dir, "..data")
	good := labelled("b")
	link := func(to string) {
		t.Helper()
		must(os.Symlink(to, r.file.path+".new"))
		must(os.Rename(r.file.path+".new", r.file.path))
	}
	for i, tc := range []struct {
		name string
		do   func()
		want string
	}{
		{"bytes that are no text", func() { r.file.swap("\x00\x01\xff\xfe\x00") }, "false "},
		{"nothing yet", func() { r.file.swap("\n") }, "is empty"},
		{"half of it", func() { r.file.swap(good[:strings.Index(good, "gpu")]) }, "is not valid YAML"},
		{"a page of an error", func() { r.file.swap("<html><body>503</body></html>") }, "false "},
		{"of another kind", func() { r.file.swap("apiVersion: v1\nkind: ConfigMap\ndata: {}\n") }, "false "},
		{"too long", func() { r.file.swap(good + strings.Repeat("# longer and longer\n", config.MaxSize/20)) }, "false "},
		{"names that multiply", func() { r.file.swap(multiplied()) }, "false "},
		{"a link to itself", func() { link("config.yaml") }, "too many levels"},
		{"a link to nothing", func() { link("nowhere") }, "no such file"},
		{"a folder", func() { link(".") }, "is a directory"},
		{"endless", func() { link("/dev/zero") }, "false "},
		{"gone with its folder", func() { must(os.RemoveAll(data)); must(os.Remove(r.file.path)) }, "no such file"},
		{"not to be read", func() { r.file.write(good); must(os.Chmod(r.file.path, 0)) }, "permission denied"},
	} {
		if strings.Contains(tc.want, "permission") && os.Geteuid() == 0 {
			continue // who may read everything
		}
		tc.do()
		r.told(t, tc.want)
		if got, want := r.counts(), fmt.Sprint(0, i+1, 0); got != want {
			t.Errorf("%s: reloads %s, want %s", tc.name, got, want)
		}
		before := picked[0].Load()
		eventually(t, tc.name+": requests go on", &r.log, func() bool { return picked[0].Load() > before+20 })
		if n := picked[1].Load(); n > 0 {
			t.Fatalf("%s: %d requests were picked for by a policy that was refused", tc.name, n)
		}
	}
	r.file.write(good)
	r.told(t, "true ")
	before := picked[1].Load()
	eventually(t, "requests follow the good file", &r.log, func() bool { return picked[1].Load() > before+20 })
	if got := r.counts(); !strings.HasSuffix(got, " 1") || !strings.HasPrefix(got, "1 ") {
		t.Errorf("reloads %s", got)
	}
}

// multiplied is YAML that is small and means much.
func multiplied() string {
	var b strings.Builder
	b.WriteString("plugins: []\na0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	return b.String()
}

// TestReloadOfABurst: of a thousand changes, good and bad, the last one is in force in the
// end. No request fails, those on their way end as they began, and what is told is not
// more than what happened.
func TestReloadOfABurst(t *testing.T) {
	const changes = 1000
	r := startReloading(t, labelled("a"))
	r.events = make(chan string, 2*changes)
	picked, end := r.clients(t)
	var held []extproc.Pick
	for n := range changes {
		switch n % 4 {
		case 0:
			r.file.swap(labelled("b"))
		case 1:
			r.file.swap("plugins: [")
		case 2:
			r.file.swap(labelled("a"))
		case 3:
			r.file.swap("\x00")
		}
		if n%50 == 0 {
			held = append(held, r.pick(t))
		}
	}
	r.file.swap(labelled("b") + "# the last\n")
	eventually(t, "the last one is in force", &r.log, func() bool {
		before := picked[1].Load()
		p := r.pick(t)
		p.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		return p.Destinations == "127.0.0.1:2" && picked[1].Load() >= before && strings.HasSuffix(r.counts(), " 1")
	})
	end()
	for _, p := range held {
		p.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
	}
	for _, e := range r.pools.Pool("default/x").Snapshot().Endpoints {
		if n := e.Load.View().Requests; n != 0 {
			t.Errorf("%s: %d requests after their end", e.ID, n)
		}
	}
	var used, refused int
	if _, err := fmt.Sscan(r.counts(), &used, &refused); err != nil || used == 0 || used+refused > 2*changes || len(r.events) > used+refused {
		t.Errorf("%d changes came to %s reloads and %d events", changes, r.counts(), len(r.events))
	}
}
