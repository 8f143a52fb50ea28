package statuspage

import (
	"math"
	"strconv"
)

// The size of a sparkline in its own units, and the room that the line's thickness takes at the edges.
const (
	sparkWidth  = 120.0
	sparkHeight = 24.0
	sparkEdge   = 2.0
)

// A sparkline is a drawn history: paths as SVG knows them, in a box of sparkWidth by sparkHeight.
type sparkline struct {
	Line, Area string
}

// draw draws values evenly from left to right, lowest at the bottom and highest at the top; what is outside is drawn at the edge. Values that are
// not known leave a gap, and one between two gaps is a dot. If highest is not above lowest, what is known lies at the bottom.
func draw(values []float64, lowest, highest float64) (s sparkline) {
	step := (sparkWidth - 2*sparkEdge) / float64(max(len(values)-1, 1))
	var line, area []byte
	var x float64
	inside := false
	bottom := func(x float64) []byte { return coordinates(nil, x, sparkHeight) }
	for i, v := range values {
		if math.IsNaN(v) {
			if inside {
				area = append(append(append(area, 'L'), bottom(x)...), 'Z')
			}
			inside = false
			continue
		}
		x = sparkEdge + float64(i)*step
		y := height(v, lowest, highest)
		if !inside {
			area = append(append(append(area, 'M'), bottom(x)...), 'L')
			area = coordinates(area, x, y)
			line = append(coordinates(append(line, 'M'), x, y), "h0"...) // so that a single value is seen
		} else {
			area = coordinates(append(area, 'L'), x, y)
			line = coordinates(append(line, 'L'), x, y)
		}
		inside = true
	}
	if inside {
		area = append(append(append(area, 'L'), bottom(x)...), 'Z')
	}
	s.Line, s.Area = string(line), string(area)
	return s
}

// height is where v lies.
func height(v, lowest, highest float64) float64 {
	part := 0.0
	// Halved, so that the widest range does not overflow. What infinities make of it is no number and stays 0.
	if p := (v/2 - lowest/2) / (highest/2 - lowest/2); highest > lowest && p > 0 {
		part = min(p, 1)
	}
	return sparkHeight - sparkEdge - float64(part*(sparkHeight-2*sparkEdge))
}

func coordinates(to []byte, x, y float64) []byte {
	to = strconv.AppendFloat(to, math.Round(x*10)/10, 'f', -1, 64)
	to = append(to, ' ')
	return strconv.AppendFloat(to, math.Round(y*10)/10, 'f', -1, 64)
}
