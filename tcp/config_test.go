package tcp

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// zeroByDefault are the fields whose default is their zero value; every other
// one must be filled in by defaults.
var zeroByDefault = map[string]bool{
	"LazyHandshake": true, "Admit": true, "TimeWait": true, "Congestion": true, "Recovery": true, "TrafficClass": true,
}

func TestDefaultsCoverEveryField(t *testing.T) {
	c, err := (*Config)(nil).Resolved()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() != zeroByDefault[name] {
			t.Errorf("%s is %v after defaults", name, v.Field(i))
		}
	}
}

func TestDefaultsKeepWhatIsSet(t *testing.T) {
	for _, sign := range []int64{1, -1} {
		var c Config
		v := reflect.ValueOf(&c).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Int, reflect.Int64:
				f.SetInt(sign)
			case reflect.Uint8:
				f.SetUint(1)
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Func:
				f.Set(reflect.ValueOf(func(_, _ netip.AddrPort) Verdict { return Drop }))
			default:
				t.Fatalf("no value for %s", v.Type().Field(i).Name)
			}
		}
		before := c
		c.defaults()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Func {
				continue
			}
			if got, want := v.Field(i).Interface(), reflect.ValueOf(before).Field(i).Interface(); got != want {
				t.Errorf("%s: %v became %v", v.Type().Field(i).Name, want, got)
			}
		}
	}
}

// TestValidateNamesTheField gives every number an absurd value, and those that
// cannot be negative a negative one.
func TestValidateNamesTheField(t *testing.T) {
	notNegative := map[string]bool{"AcceptQueue": true, "TimeWait": true, "HopLimit": true, "TrafficClass": true}
	typ := reflect.TypeFor[Config]()
	for i := range typ.NumField() {
		name, kind := typ.Field(i).Name, typ.Field(i).Type.Kind()
		check := func(val any, bad bool) {
			t.Helper()
			var c Config
			reflect.ValueOf(&c).Elem().Field(i).Set(reflect.ValueOf(val).Convert(typ.Field(i).Type))
			_, err := c.Resolved()
			switch {
			case !bad && err != nil:
				t.Errorf("%s = %v: %v", name, val, err)
			case bad && err == nil:
				t.Errorf("%s = %v is taken", name, val)
			case bad && !strings.Contains(err.Error(), "Config."+name+" is "):
				t.Errorf("the error does not name %s: %v", name, err)
			}
		}
		switch {
		case typ.Field(i).Type == reflect.TypeFor[time.Duration]():
			check(1000*time.Hour, true)
			check(-time.Second, notNegative[name])
		case kind == reflect.Int:
			check(1<<30, true)
			check(-1, notNegative[name])
		case kind == reflect.Uint8:
			check(200, true)
		}
	}
}

func TestErrorNamesTheValue(t *testing.T) {
	c := Config{HopLimit: 256}
	_, err := c.Resolved()
	if want := "tcp: Config.HopLimit is 256, must be 0 to 255"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c = Config{DecideTimeout: 2 * time.Hour}
	_, err = c.Resolved()
	if want := "tcp: Config.DecideTimeout is 2h0m0s, must be at most 1h0m0s"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestResolvedLeavesTheOriginal(t *testing.T) {
	var c Config
	r, err := c.Resolved()
	if err != nil || c.AcceptQueue != 0 || r.AcceptQueue != 2048 {
		t.Fatalf("%v, %d, %d", err, c.AcceptQueue, r.AcceptQueue)
	}
	if again, err := r.Resolved(); err != nil || !reflect.DeepEqual(again, r) {
		t.Fatalf("resolving twice: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Reno.String(), "reno"}, {Cubic.String(), "cubic"}, {Congestion(7).String(), "Congestion(7)"},
		{RACK.String(), "rack"}, {SACK.String(), "sack"}, {Recovery(7).String(), "Recovery(7)"},
		{Accept.String(), "accept"}, {Refuse.String(), "refuse"}, {Drop.String(), "drop"}, {Verdict(7).String(), "Verdict(7)"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}
