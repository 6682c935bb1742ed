// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// watching runs Watch on a loader that has loaded once. Each change is one value of the channel.
func watching(t *testing.T, opts Options, inputs ...string) <-chan struct{} {
	t.Helper()
	l := New(inputs, opts)
	if _, _, err := l.Load(); err != nil {
		t.Fatal(err)
	}
	return watchLoader(t, l)
}

func watchLoader(t *testing.T, l *Loader) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		l.Watch(ctx, func() { changes <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return changes
}

// wantChange waits for a change. The promise is 1 s; a test machine may be slow, so the deadline only stops a hang.
func wantChange(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-changes:
	case <-limit.C:
		t.Fatalf("%s: no change was reported", what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchReportsEachWayAFileChanges(t *testing.T) {
	dir := write(t, "a.yaml", object("a"))
	changes := watching(t, Options{}, dir)
	put(t, dir+"/a.yaml", object("b"))
	wantChange(t, changes, "written in place")
	put(t, dir+"/.a.swp", object("c"))
	must(t, os.Rename(dir+"/.a.swp", dir+"/a.yaml"))
	wantChange(t, changes, "renamed over")
	put(t, dir+"/b.yaml", object("d"))
	wantChange(t, changes, "a new file")
	must(t, os.Remove(dir+"/b.yaml"))
	wantChange(t, changes, "a file removed")
}

func TestWatchReportsTheSwapOfAConfigMap(t *testing.T) {
	dir := write(t, "..1/a.yaml", object("a"), "..2/a.yaml", object("b"))
	must(t, os.Symlink("..1", dir+"/..data"))
	must(t, os.Symlink("..data/a.yaml", dir+"/a.yaml"))
	whole, one := watching(t, Options{}, dir), watching(t, Options{}, dir+"/a.yaml")
	must(t, os.Symlink("..2", dir+"/..tmp"))
	must(t, os.Rename(dir+"/..tmp", dir+"/..data"))
	wantChange(t, whole, "the folder")
	wantChange(t, one, "the file")
}

func TestWatchFollowsLinksOutOfTheFolder(t *testing.T) {
	target := write(t, "real.yaml", object("a"))
	dir := t.TempDir()
	must(t, os.Symlink(filepath.Join(target, "real.yaml"), dir+"/a.yaml"))
	changes := watching(t, Options{}, dir)
	put(t, target+"/real.yaml", object("b"))
	wantChange(t, changes, "the target")
}

func TestWatchFollowsNewSubfolders(t *testing.T) {
	dir := write(t, "a.yaml", object("a"))
	changes := watching(t, Options{Recursive: true}, dir)
	put(t, dir+"/x/b.yaml", object("b"))
	wantChange(t, changes, "a file in a new subfolder")
	put(t, dir+"/x/b.yaml", object("c"))
	wantChange(t, changes, "the file changed")
}

func TestWatchFindsAFolderAgainThatWasAway(t *testing.T) {
	parent := write(t, "in/a.yaml", object("a"))
	changes := watching(t, Options{}, parent+"/in")
	must(t, os.RemoveAll(parent+"/in"))
	wantChange(t, changes, "removed")
	put(t, parent+"/in/a.yaml", object("b"))
	wantChange(t, changes, "there again")
}

func TestAChangeBetweenLoadAndWatchIsReported(t *testing.T) {
	dir := write(t, "a.yaml", object("a"))
	l := New([]string{dir}, Options{})
	_, _, err := l.Load()
	must(t, err)
	put(t, dir+"/a.yaml", object("b"))
	wantChange(t, watchLoader(t, l), "before Watch")
}

func TestOnlyContentCountsAsAChange(t *testing.T) {
	dir := write(t, "a.yaml", object("a"), "notes.txt", "x")
	l := New([]string{dir, "-"}, Options{Stdin: strings.NewReader(object("s"))})
	_, _, err := l.Load()
	must(t, err)
	f := func(what string, same bool) {
		t.Helper()
		if now := l.current(); (now == l.loaded()) != same {
			t.Errorf("%s: same is %v", what, !same)
		}
	}
	f("nothing", true)
	put(t, dir+"/a.yaml", object("a"))
	put(t, dir+"/notes.txt", "y")
	put(t, dir+"/sub/b.yaml", object("b"))
	f("the same again", true)
	must(t, os.Rename(dir+"/a.yaml", dir+"/b.yaml"))
	f("another name", false)
	must(t, os.Remove(dir+"/b.yaml"))
	f("an empty folder", false)
}
