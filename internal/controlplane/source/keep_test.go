// SPDX-License-Identifier: Apache-2.0

package source

import (
	"strings"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// badIf makes a check that refuses the resources whose JSON has the word, and warns of each other.
func badIf(word string) func([]*Resource) []mesh.Problem {
	return func(list []*Resource) []mesh.Problem {
		var problems []mesh.Problem
		for _, r := range list {
			p := mesh.Problem{Severity: mesh.Warning, Resource: r.Ref(), Message: "served"}
			if strings.Contains(string(r.JSON()), word) {
				p.Severity, p.Message = mesh.Error, "bad"
			}
			problems = append(problems, p)
		}
		return problems
	}
}

func version(name, v string) string {
	return "---\napiVersion: v1\nkind: A\nmetadata: {name: " + name + "}\nspec: {v: " + v + "}\n"
}

// versions is name=v of what would be served.
func versions(list []*Resource) string {
	var s []string
	for _, r := range list {
		s = append(s, r.Name+"="+text(child(child(r.Node, "spec"), "v")))
	}
	return strings.Join(s, " ")
}

// reload settles what is in the folder and accepts it.
func reload(t *testing.T, k *Keep, dir string, check func([]*Resource) []mesh.Problem) Settled {
	t.Helper()
	set, problems := load(t, Options{}, dir)
	settled := k.Settle(set, problems, check)
	k.Accept(settled.Resources)
	return settled
}

func TestARefusedResourceKeepsItsLastGoodVersion(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1")+version("b", "1"))
	f := func(content, want, refused string) {
		t.Helper()
		put(t, dir+"/a.yaml", content)
		settled := reload(t, &k, dir, badIf("bad"))
		var got []string
		for _, r := range settled.Refused {
			got = append(got, r.Name)
		}
		if v := versions(settled.Resources); v != want || strings.Join(got, " ") != refused {
			t.Errorf("%q: serves %s and refuses %v, want %s and %s", content, v, got, want, refused)
		}
	}
	f(version("a", "1")+version("b", "1"), "a=1 b=1", "")
	f(version("a", "bad")+version("b", "2"), "a=1 b=2", "a")
	f(version("a", "bad")+version("b", "bad"), "a=1 b=2", "a b")
	f(version("a", "3")+version("b", "bad")+version("c", "bad"), "a=3 b=2", "b c")
	f(version("b", "bad"), "b=2", "b")
	f(version("a", "bad")+version("b", "4"), "b=4", "a")
}

func TestProblemsAreSaidOnceAndAreThoseOfTheInput(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1")+version("b", "1"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", version("a", "bad")+version("b", "2"))
	settled := reload(t, &k, dir, badIf("bad"))
	var got []string
	for _, p := range settled.Problems {
		got = append(got, p.Resource.Name+" "+p.Severity.String())
	}
	if s := strings.Join(got, ", "); s != "a error, b warning" {
		t.Errorf("problems %s", s)
	}
}

func TestABrokenFileKeepsAllThatItHad(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1")+version("b", "1"), "b.yaml", version("c", "1"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", version("a", "2")+"---\nx: [\n")
	put(t, dir+"/b.yaml", version("c", "2"))
	settled := reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "c=2 a=1 b=1" {
		t.Errorf("serves %s", got)
	}
	put(t, dir+"/b.yaml", version("b", "3"))
	settled = reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "b=3 a=1" {
		t.Errorf("b has moved to another file: serves %s", got)
	}
	put(t, dir+"/a.yaml", version("a", "4"))
	settled = reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "a=4 b=3" {
		t.Errorf("mended: serves %s", got)
	}
}

func TestANewBrokenFileServesNothing(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1"), "b.yaml", version("b", "1")+"---\nx: [\n")
	if got := versions(reload(t, &k, dir, badIf("bad")).Resources); got != "a=1" {
		t.Errorf("serves %s", got)
	}
}

// A change of one resource can make an unchanged one bad: what is served of it goes on.
func TestALastGoodVersionIsNeverTakenAway(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1"), "b.yaml", version("b", "1"))
	together := func(list []*Resource) []mesh.Problem {
		if !strings.Contains(versions(list), "b=2") {
			return nil
		}
		return badIf(`"name":"a"`)(list)
	}
	reload(t, &k, dir, together)
	put(t, dir+"/b.yaml", version("b", "2"))
	settled := reload(t, &k, dir, together)
	if got := versions(settled.Resources); got != "a=1 b=2" || len(settled.Refused) != 1 {
		t.Errorf("serves %s, refuses %v", got, settled.Refused)
	}
	put(t, dir+"/a.yaml", version("a", "2"))
	settled = reload(t, &k, dir, together)
	if got := versions(settled.Resources); got != "a=1 b=2" || len(settled.Refused) != 1 {
		t.Errorf("changed too: serves %s, refuses %v", got, settled.Refused)
	}
	put(t, dir+"/b.yaml", version("b", "3"))
	settled = reload(t, &k, dir, together)
	if got := versions(settled.Resources); got != "a=2 b=3" || len(settled.Refused) != 0 {
		t.Errorf("mended: serves %s, refuses %v", got, settled.Refused)
	}
}

func TestANewResourceThatIsBadTogetherWithOthersIsLeftOut(t *testing.T) {
	var k Keep
	dir := write(t, "b.yaml", version("b", "2"))
	together := func(list []*Resource) []mesh.Problem { return badIf(`"name":"a"`)(list) }
	reload(t, &k, dir, together)
	put(t, dir+"/a.yaml", version("a", "1"))
	settled := reload(t, &k, dir, together)
	if got := versions(settled.Resources); got != "b=2" || len(settled.Refused) != 1 {
		t.Errorf("serves %s, refuses %v", got, settled.Refused)
	}
}

func TestAResourceThatMovedToABrokenFileIsServedAsItWas(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1")+version("b", "1"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", version("b", "2"))
	put(t, dir+"/c.yaml", version("a", "2")+"---\nx: [\n")
	settled := reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "b=2 a=1" {
		t.Errorf("serves %s", got)
	}
}

func TestTwoResourcesSwapNames(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1")+version("b", "2"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", version("b", "1")+version("a", "2"))
	settled := reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "b=1 a=2" || len(settled.Problems) != 2 {
		t.Errorf("serves %s, problems %v", got, settled.Problems)
	}
}

// Who writes a file by "> file" empties it first, and may take his time then.
func TestAnEmptiedFileKeepsAllThatItHad(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1"), "b.yaml", version("b", "1"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", " \n")
	settled := reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "b=1 a=1" {
		t.Errorf("serves %s", got)
	}
	if s := settled.Problems[0].String(); !strings.Contains(s, "a.yaml:1: warning: is empty") {
		t.Errorf("says %q", s)
	}
	put(t, dir+"/a.yaml", "# none\n")
	if got := versions(reload(t, &k, dir, badIf("bad")).Resources); got != "b=1" {
		t.Errorf("a comment is content: serves %s", got)
	}
}

func TestAProblemOfLoadingRefusesTheResourceToo(t *testing.T) {
	var k Keep
	dir := write(t, "a.yaml", version("a", "1"))
	reload(t, &k, dir, badIf("bad"))
	put(t, dir+"/a.yaml", version("a", "2")+"spec: {v: 3}\n")
	settled := reload(t, &k, dir, badIf("bad"))
	if got := versions(settled.Resources); got != "a=1" || len(settled.Problems) == 0 {
		t.Errorf("serves %s, problems %v", got, settled.Problems)
	}
}
