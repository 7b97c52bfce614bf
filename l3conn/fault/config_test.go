package fault

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"l3extract/l3conn"
)

// TestZeroIsHarmless: and every field is a fault, or shapes one.
func TestZeroIsHarmless(t *testing.T) {
	if (&Direction{}).faulty() {
		t.Error("the zero Direction does something")
	}
	shapes := map[string]bool{"BurstLength": true, "ReorderDelay": true, "Queue": true, "Hold": true}
	typ := reflect.TypeFor[Direction]()
	for i := range typ.NumField() {
		var d Direction
		switch f := reflect.ValueOf(&d).Elem().Field(i); f.Kind() {
		case reflect.Float64:
			f.SetFloat(1)
		default:
			f.SetInt(1)
		}
		if d.faulty() == shapes[typ.Field(i).Name] {
			t.Errorf("with %s alone faulty is %v", typ.Field(i).Name, d.faulty())
		}
		if !shapes[typ.Field(i).Name] {
			continue
		}
		d = Direction{}
		d.defaults()
		if reflect.ValueOf(d).Field(i).IsZero() {
			t.Errorf("%s has no default", typ.Field(i).Name)
		}
	}
}

// TestConfigNamesTheField gives every field a value that makes no sense.
func TestConfigNamesTheField(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	typ := reflect.TypeFor[Direction]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		for _, in := range []bool{true, false} {
			var d Direction
			var bad []any
			switch typ.Field(i).Type {
			case reflect.TypeFor[float64]():
				bad = []any{-0.1, math.NaN()}
				if name == "BurstLength" {
					bad = append(bad, 0.5)
				} else {
					bad = append(bad, 1.1)
				}
			case reflect.TypeFor[time.Duration]():
				bad = []any{time.Duration(-1), 2 * longest}
			case reflect.TypeFor[int]():
				bad = []any{-1, largest + 1}
			default:
				bad = []any{int64(-1)}
			}
			for _, v := range bad {
				reflect.ValueOf(&d).Elem().Field(i).Set(reflect.ValueOf(v))
				cfg, want := Config{Out: d}, "Config.Out."+name
				if in {
					cfg, want = Config{In: d}, "Config.In."+name
				}
				if _, err := New(x, &cfg); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s = %v: %v", want, v, err)
				}
			}
		}
	}
}
