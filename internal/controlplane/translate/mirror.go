// SPDX-License-Identifier: Apache-2.0

package translate

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// mirrors reads mirror, with its three ways to give a share, and mirrors.
func (v *virtualService) mirrors(path string, h *networking.HTTPRoute, rule *mesh.Rule, opts Options) {
	v.shares(path, h)
	if h.GetMirror() != nil && len(h.GetMirrors()) > 0 {
		v.error(path+".mirrors", "move the mirror into mirrors", "HTTP route cannot contain both mirror and mirrors")
	}
	if d := h.GetMirror(); d != nil {
		m := mesh.Mirror{Destination: v.destination(path+".mirror", d, true, opts)}
		on := true
		switch {
		case h.GetMirrorPercentage() != nil:
			on = setShare(&m, h.GetMirrorPercentage().GetValue())
		case h.GetMirrorPercent() != nil:
			m.Numerator, m.Denominator = h.GetMirrorPercent().GetValue(), mesh.Hundred
			on = m.Numerator > 0
		default:
			m.Numerator, m.Denominator = 100, mesh.Hundred
		}
		if on {
			rule.Mirrors = append(rule.Mirrors, m)
		}
	}
	for i, policy := range h.GetMirrors() {
		at := index(path+".mirrors", i)
		if policy.GetDestination() == nil {
			v.error(at+".destination", "name a service", "destination is required for mirrors")
			continue
		}
		m := mesh.Mirror{
			Destination: v.destination(at+".destination", policy.GetDestination(), true, opts),
			Numerator:   100, Denominator: mesh.Hundred,
		}
		on := true
		if p := policy.GetPercentage(); p != nil {
			v.share(at+".percentage.value", "mirror percentage", p.GetValue())
			on = setShare(&m, p.GetValue())
		}
		if on {
			rule.Mirrors = append(rule.Mirrors, m)
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
		v.share(path+".mirrorPercentage.value", "mirror_percentage", p.GetValue())
		v.needsMirror(path+".mirrorPercentage", h)
	}
}

func (v *virtualService) share(path, name string, percent float64) {
	switch {
	case percent > 100:
		v.error(path, "write 0 to 100", "%s must have a max value of 100 (it has %f)", name, percent)
	case percent < 0:
		v.error(path, "write 0 to 100", "%s must have a min value of 0 (it has %f)", name, percent)
	}
}

func (v *virtualService) needsMirror(path string, h *networking.HTTPRoute) {
	if h.GetMirror() == nil {
		v.warn(path, "add mirror, or use the percentage of each of mirrors", "has no effect: the rule has no mirror")
	}
}
