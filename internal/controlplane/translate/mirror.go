// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// copies is what a rule says of mirrors: one target with three ways to give its share, and a list. A delegate inherits
// each of the four by itself.
type copies struct {
	target     *mesh.Destination // of mirror
	percent    *wrapperspb.UInt32Value
	percentage *networking.Percent
	listed     bool          // mirrors is given
	list       []mesh.Mirror // of mirrors, without those of share 0
}

// over is c with what it does not say taken from the root. A target that is inherited stands where the delegate's rule
// does.
func (c copies) over(root copies, at mesh.Place) copies {
	if c.target == nil && root.target != nil {
		target := *root.target
		target.Place = at
		c.target = &target
	}
	if c.percent == nil {
		c.percent = root.percent
	}
	if c.percentage == nil {
		c.percentage = root.percentage
	}
	if !c.listed && root.listed {
		c.listed, c.list = true, nil
		for _, m := range root.list {
			m.Destination.Place = at
			c.list = append(c.list, m)
		}
	}
	return c
}

// mirrors are the policies: mirror first, then mirrors.
func (c copies) mirrors() []mesh.Mirror {
	var out []mesh.Mirror
	if c.target != nil {
		m := mesh.Mirror{Destination: *c.target, Numerator: 100, Denominator: mesh.Hundred}
		on := true
		switch {
		case c.percentage != nil:
			on = setShare(&m, c.percentage.GetValue())
		case c.percent != nil:
			m.Numerator = c.percent.GetValue()
			on = m.Numerator > 0
		}
		if on {
			out = append(out, m)
		}
	}
	return append(out, c.list...)
}

// copies reads mirror, its share, and mirrors.
func (v *virtualService) copies(path string, h *networking.HTTPRoute, opts Options) copies {
	v.shares(path, h)
	c := copies{percent: h.GetMirrorPercent(), percentage: h.GetMirrorPercentage(), listed: len(h.GetMirrors()) > 0}
	if d := h.GetMirror(); d != nil {
		v.selfMirrored(path+".mirror", d, h)
		target := v.destination(path+".mirror", d, true, opts)
		c.target = &target
	}
	for i, policy := range h.GetMirrors() {
		at := index(path+".mirrors", i)
		if policy.GetDestination() == nil {
			v.error(at+".destination", "name a service", "destination is required for mirrors")
			continue
		}
		v.selfMirrored(at+".destination", policy.GetDestination(), h)
		m := mesh.Mirror{
			Destination: v.destination(at+".destination", policy.GetDestination(), true, opts),
			Numerator:   100, Denominator: mesh.Hundred,
		}
		on := true
		if p := policy.GetPercentage(); p != nil {
			v.share(at+".percentage", "mirror percentage", p.GetValue())
			on = setShare(&m, p.GetValue())
		}
		if on {
			c.list = append(c.list, m)
		}
	}
	return c
}

// selfMirrored tells of copies that go where the requests go: what a mirror is to spare gets each of them twice.
func (v *virtualService) selfMirrored(path string, to *networking.Destination, h *networking.HTTPRoute) {
	for _, d := range h.GetRoute() {
		if proto.Equal(d.GetDestination(), to) {
			v.note(path, "name another service or subset if that is not meant",
				"copies go where the requests go: it gets each of them twice")
			return
		}
	}
}

// setShare writes a percentage as millionths, cut off and not rounded, as Istio does: 0.57 is 5699 and 0.00001 is a
// mirror that never fires. It is false for zero: then there is no mirror at all.
func setShare(m *mesh.Mirror, percent float64) bool {
	m.Numerator, m.Denominator = uint32(min(max(percent, 0), 100)*10_000), mesh.Million
	return percent > 0
}

// shares checks the fields that give the share of mirror.
func (v *virtualService) shares(path string, h *networking.HTTPRoute) {
	if p := h.GetMirrorPercent(); p != nil {
		if p.GetValue() > 100 {
			v.error(path+".mirrorPercent", "write 0 to 100", "mirror_percent must have a max value of 100 (it has %d)",
				p.GetValue())
		}
		v.warn(path+".mirrorPercent", "", `using deprecated setting "mirrorPercent", use "mirrorPercentage" instead`)
		v.needsMirror(path+".mirrorPercent", h)
	}
	if p := h.GetMirrorPercentage(); p != nil {
		v.share(path+".mirrorPercentage", "mirror_percentage", p.GetValue())
		v.needsMirror(path+".mirrorPercentage", h)
	}
}

// leastShare is the smallest that is not cut off to nothing, in percent (mesh.Million).
const leastShare = 0.0001

func (v *virtualService) share(path, name string, percent float64) {
	if percent == 0 && !v.given(path+".value") {
		v.warn(path, "write {value: 100} for all, or leave it out", "no request is mirrored: there is no value, which is 0")
	}
	path += ".value"
	switch {
	case percent > 0 && percent < leastShare:
		v.warn(path, "write 0.0001 or more", "no request is mirrored: the share is counted in steps of 0.0001 percent")
	case percent > 100:
		v.error(path, "write 0 to 100", "%s must have a max value of 100 (it has %f)", name, percent)
	case percent < 0:
		v.error(path, "write 0 to 100", "%s must have a min value of 0 (it has %f)", name, percent)
	}
}

// needsMirror warns of a share without a mirror. A delegate, or what it inherits from, may leave the mirror to the
// other.
func (v *virtualService) needsMirror(path string, h *networking.HTTPRoute) {
	if h.GetMirror() == nil && !v.delegate && h.GetDelegate() == nil {
		v.warn(path, "add mirror, or use the percentage of each of mirrors", "has no effect: the rule has no mirror")
	}
}
