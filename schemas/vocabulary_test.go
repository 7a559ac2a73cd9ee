package schemas

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var directMarketing = Purposes(DirectMarketingEmail, DirectMarketingSMS, DirectMarketingPhone)

func TestVocabularyGroups(t *testing.T) {
	v := DefaultVocabulary()
	ads := Purposes(PersonalisedAdvertising, SocialMediaMarketing)
	for name, want := range map[string]PurposeSet{
		"direct_marketing":               directMarketing,
		"direct_marketing_and_profiling": directMarketing.With(Profiling),
		"marketing":                      directMarketing | ads.With(Profiling),
		"advertising":                    ads,
		"advertising_and_profiling":      ads.With(Profiling),
		"personalisation":                ads.With(Profiling).With(Functional),
	} {
		if got := v.Set(groupNamed(name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if v.Set(NoPurpose) != 0 || v.Set(FirstGroup+MaxGroups-1) != 0 || v.Set(numPurposes) != 0 || v.Set(Analytics) != Purposes(Analytics) {
		t.Error("what is no purpose or group stands for something, or a purpose not for itself")
	}
}

func TestVocabularyScopes(t *testing.T) {
	v := DefaultVocabulary()
	for p := range Purpose(255) {
		name := v.Name(p)
		if got, known := v.ParseScope(name); known != (name != "") || known && got != p {
			t.Errorf("%d is named %q, which is %d, %t", p, name, got, known)
		}
		if denied, every := v.Denied(name); name != "" && (denied != p || every) {
			t.Errorf("a denial of %s is one of %d, every %t", name, denied, every)
		}
	}
}

func TestVocabularyObjections(t *testing.T) {
	v := DefaultVocabulary()
	for name, want := range map[string]PurposeSet{
		"direct_marketing":       directMarketing.With(Profiling),
		"dpv:DirectMarketing":    directMarketing.With(Profiling),
		"direct_marketing_email": Purposes(DirectMarketingEmail),
		"newsletter":             Purposes(DirectMarketingEmail),
		"profiling":              Purposes(Profiling),
		"advertising":            Purposes(PersonalisedAdvertising, SocialMediaMarketing),
	} {
		if p, every := v.Objected(name); v.Set(p) != want || every {
			t.Errorf("an objection to %s is to %s, every %t, want %s", name, v.Set(p), every, want)
		}
	}
	for _, name := range []string{"*", "dpv:PublicRelations"} {
		if _, every := v.Objected(name); !every {
			t.Errorf("an objection to %s is not to everything", name)
		}
	}
	if p, every := v.Objected("marketing"); every || !v.Set(p).Covers(directMarketing.With(Profiling)) {
		t.Error("an objection to marketing leaves profiling")
	}
}

func TestVocabularySignals(t *testing.T) {
	v := DefaultVocabulary()
	ads := Purposes(PersonalisedAdvertising, SocialMediaMarketing)
	for id, want := range map[string]PurposeSet{
		"C0001": Purposes(Necessary), "C0002": Purposes(Analytics), "C0003": Purposes(Functional),
		"C0004": Purposes(PersonalisedAdvertising), "C0005": Purposes(SocialMediaMarketing),
		"Advertising": ads, "Analytics": Purposes(Analytics), "Functional": Purposes(Functional), "DataSharing": Purposes(ThirdPartySharing),
		"c0002": 0, "C0099": 0, "": 0,
	} {
		if got, known := v.Category(id); got != want || known != (want != 0) {
			t.Errorf("category %q is %s, %t, want %s", id, got, known, want)
		}
	}
	if got := v.CategoryPurposes(); got != AllPurposes&^directMarketing&^Purposes(Profiling) {
		t.Errorf("categories are about %s", got)
	}
	for n, want := range map[int]PurposeSet{
		1: Purposes(PersonalisedAdvertising), 2: Purposes(PersonalisedAdvertising), 3: ads.With(Profiling), 4: ads,
		5: Purposes(Functional, Profiling), 6: Purposes(Functional), 7: Purposes(Analytics), 8: Purposes(Analytics), 9: Purposes(Analytics),
		10: 0, 11: Purposes(Functional), 0: 0, -1: 0, 12: 0,
	} {
		if got := v.TCFPurpose(n); got != want {
			t.Errorf("TCF purpose %d is %s, want %s", n, got, want)
		}
	}
	for name, want := range map[string]PurposeSet{
		"ad_storage": ads, "ad_user_data": ads.With(ThirdPartySharing), "ad_personalization": ads, "analytics_storage": Purposes(Analytics),
		"functionality_storage": Purposes(Functional), "personalization_storage": Purposes(Functional), "security_storage": Purposes(Necessary),
		"Ad_Storage": 0, "wait_for_update": 0,
	} {
		if got, known := v.GoogleSignal(name); got != want || known != (want != 0) {
			t.Errorf("signal %s is %s, %t, want %s", name, got, known, want)
		}
	}
	if got := v.GPC(); got != Purposes(PersonalisedAdvertising, ThirdPartySharing) {
		t.Errorf("GPC refuses %s", got)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadVocabulary(t *testing.T) {
	v, err := ReadVocabulary(writeFile(t, `
purposes:
  analytics:
    names: [Kävijäseuranta, web_stats]
    narrower: [ab_tests]
    dpv: [OptimisationForController]
    tcf: [10]
    categories: [C0004, "2"]
  direct_marketing_email:
    names: [newsletter]
  third_party_sharing:
    google: [ad_personalization]
groups:
  post:
    purposes: [direct_marketing_email, direct_marketing_sms]
    names: [letters]
    dpv: [PublicRelations]
    categories: ["3"]
  direct_marketing:
    purposes: [social_media_marketing]
  direct_marketing_and_profiling:
    purposes: [social_media_marketing]
gpc: [third_party_sharing, profiling]
`))
	if err != nil {
		t.Fatal(err)
	}
	granted := map[string]Purpose{}
	for _, name := range []string{"web_stats", "Web_Stats", "Kävijäseuranta", "newsletter", "ab_tests", "dpv:OptimisationForController", "letters", "post", "analytics", "dpv:ServiceUsageAnalytics"} {
		granted[name] = v.Granted(name)
	}
	if diff := cmp.Diff(map[string]Purpose{"web_stats": Analytics, "Web_Stats": 0, "Kävijäseuranta": Analytics, "newsletter": DirectMarketingEmail, "ab_tests": 0,
		"dpv:OptimisationForController": Analytics, "letters": 0, "post": 0, "analytics": Analytics, "dpv:ServiceUsageAnalytics": Analytics}, granted); diff != "" {
		t.Errorf("granted (-want +got):\n%s", diff)
	}
	denied := map[string]PurposeSet{}
	for _, name := range []string{"WEB-STATS", "kävijäseuranta", "newsletter", "newsletters", "AB tests", "letters", "dpv:PublicRelations", "direct_marketing", "fun"} {
		p, every := v.Denied(name)
		if denied[name] = v.Set(p); every {
			denied[name] = AllPurposes
		}
	}
	post := Purposes(DirectMarketingEmail, DirectMarketingSMS)
	if diff := cmp.Diff(map[string]PurposeSet{"WEB-STATS": Purposes(Analytics), "kävijäseuranta": Purposes(Analytics), "newsletter": Purposes(DirectMarketingEmail),
		"newsletters": Purposes(DirectMarketingEmail), "AB tests": Purposes(Analytics), "letters": post, "dpv:PublicRelations": post,
		"direct_marketing": directMarketing.With(SocialMediaMarketing), "fun": 0}, denied); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
	for id, want := range map[string]PurposeSet{"C0004": Purposes(Analytics), "2": Purposes(Analytics), "3": post, "C0002": Purposes(Analytics)} {
		if got, _ := v.Category(id); got != want {
			t.Errorf("category %s is %s, want %s", id, got, want)
		}
	}
	if got, _ := v.GoogleSignal("ad_personalization"); got != Purposes(ThirdPartySharing) {
		t.Errorf("ad_personalization is %s", got)
	}
	if v.TCFPurpose(10) != Purposes(Analytics) || v.TCFPurpose(7) != Purposes(Analytics) || v.GPC() != Purposes(ThirdPartySharing, Profiling) {
		t.Error("TCF purposes or GPC are not those of the file")
	}
	if p, every := v.Objected("direct_marketing"); every || !v.Set(p).Covers(directMarketing.With(SocialMediaMarketing).With(Profiling)) {
		t.Error("an objection to the wider group does not reach all of it")
	}
	// The embedded table is not changed by a file that is laid over it.
	if DefaultVocabulary().Set(groupNamed("direct_marketing")) != directMarketing || DefaultVocabulary().Granted("newsletter") != NoPurpose {
		t.Error("reading a file changed the embedded table")
	}
}

func TestReadVocabularyErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a key that is not known", "purpose: {}", `1: vocabulary: unknown key "purpose"; allowed: gpc, groups, purposes`},
		{"a purpose that is not known", "purposes:\n  fun: {}", `2: purposes: unknown purpose "fun"; allowed: ` + strings.Join(PurposeNames(), ", ")},
		{"a list that is not known", "purposes:\n  analytics: {alias: [x]}", `2: purposes: analytics: unknown key "alias"; allowed: categories, dpv, dpv_narrower, fides, google, names, narrower, tcf`},
		{"a name of a purpose", "purposes:\n  analytics: {names: [Profiling]}", `2: purposes: analytics: names: "Profiling" has a meaning of its own and cannot be another name`},
		{"a name of a group", "purposes:\n  analytics: {narrower: [marketing]}", `2: purposes: analytics: narrower: "marketing" has a meaning of its own and cannot be another name`},
		{"the name of all", "purposes:\n  analytics: {names: ['*']}", `2: purposes: analytics: names: "*" has a meaning of its own and cannot be another name`},
		{"a name that is unknown", "purposes:\n  analytics: {names: [unknown]}", `2: purposes: analytics: names: "unknown" has a meaning of its own and cannot be another name`},
		{"a name of two", "purposes:\n  analytics: {names: [stats]}\n  functional: {narrower: [Stats]}", `3: purposes: functional: narrower: "Stats" means another purpose already; a name means one, or a group`},
		{"a term as name", "purposes:\n  analytics: {names: ['dpv:X']}", `2: purposes: analytics: names: "dpv:X" is a DPV term; it belongs under dpv or dpv_narrower, without its namespace`},
		{"a term with namespace", "purposes:\n  analytics: {dpv: ['dpv:X']}", `2: purposes: analytics: dpv: "dpv:X" must be a term without its namespace`},
		{"a term twice", "purposes:\n  analytics: {dpv: [X-Y]}\n  functional: {dpv: [Xy]}", `3: purposes: functional: dpv: Xy is listed twice`},
		{"a term that is fixed", "purposes:\n  analytics: {dpv: [marketing]}", `2: purposes: analytics: dpv: what marketing means is fixed`},
		{"a signal that is not known", "purposes:\n  analytics: {google: [storage]}", `2: purposes: analytics: google: unknown value "storage"; allowed: ` + strings.Join(googleSignals, ", ")},
		{"a TCF purpose that is none", "purposes:\n  analytics: {tcf: [0]}", `2: purposes: analytics: tcf: must be a purpose of the TCF, 1 to 24`},
		{"a category that is a number", "purposes:\n  analytics: {categories: [2]}", `2: purposes: analytics: categories: must be text, is a number; put it in quotes`},
		{"a group without purposes", "groups:\n  post: {names: [x]}", `2: groups: post: the key purposes is missing`},
		{"a group that is a purpose", "groups:\n  analytics: {purposes: [profiling]}", `2: groups: "analytics" cannot be a group; allowed: lower-case letters, digits and _, but no purpose and none of *, unknown, erase, restriction, born`},
		{"a group with the slot of another key", "groups:\n  born: {purposes: [profiling]}", `2: groups: "born" cannot be a group; allowed: lower-case letters, digits and _, but no purpose and none of *, unknown, erase, restriction, born`},
		{"an objection to no group", "groups:\n  post: {purposes: [profiling], objection: fun}", `2: groups: post: objection: unknown value "fun"; allowed: direct_marketing, direct_marketing_and_profiling, marketing, advertising, advertising_and_profiling, personalisation, post`},
		{"an objection to less", "groups:\n  post: {purposes: [necessary], objection: advertising}", `1: groups: post: the group of its objection must have all of its purposes, and profiling if it has all of direct marketing`},
		{"an objection that leaves profiling", "groups:\n  post: {purposes: [direct_marketing_email, direct_marketing_sms, direct_marketing_phone]}", `1: groups: post: the group of its objection must have all of its purposes, and profiling if it has all of direct marketing`},
	} {
		file := writeFile(t, c.text+"\n")
		_, err := ReadVocabulary(file)
		var wrong *ContractError
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || err.Error() != file+":"+c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := ReadVocabulary(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestVocabularyManyGroups(t *testing.T) {
	var text strings.Builder
	text.WriteString("groups:\n")
	for i := range MaxGroups {
		text.WriteString("  g" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + ": {purposes: [analytics]}\n")
	}
	if _, err := ReadVocabulary(writeFile(t, text.String())); err == nil || !strings.Contains(err.Error(), "one too many; allowed: 64") {
		t.Errorf("got %v", err)
	}
}

// The hash is the same for the same table, however it is written, and another
// for every other one.
func TestVocabularyHash(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, text := range []string{
		"purposes: {}",
		"purposes: {analytics: {names: [stats]}}",
		"purposes: {analytics: {narrower: [stats]}}",
		"purposes: {analytics: {narrower: [stat-s]}, functional: {names: [stats2]}}",
		"purposes: {functional: {narrower: [stats]}}",
		"purposes: {analytics: {dpv: [X]}}",
		"purposes: {analytics: {dpv_narrower: [X]}}",
		"purposes: {analytics: {tcf: [10]}}",
		"purposes: {analytics: {categories: [X]}}",
		"purposes: {analytics: {categories: [C0001]}}",
		"purposes: {analytics: {google: [ad_storage]}}",
		"gpc: [profiling]",
		"groups: {post: {purposes: [analytics]}}",
		"groups: {post: {purposes: [analytics, profiling]}}",
		"groups: {post: {purposes: [analytics], objection: personalisation}, personalisation: {purposes: [analytics]}}",
	} {
		v, err := ReadVocabulary(writeFile(t, text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if other, same := seen[v.Hash()]; same {
			t.Errorf("%s has the hash of %s", text, other)
		}
		seen[v.Hash()] = text
	}
	if seen[DefaultVocabulary().Hash()] != "purposes: {}" {
		t.Error("a file that says nothing changes the hash")
	}
	for _, pair := range [][2]string{
		{"groups: {a: {purposes: [analytics, profiling]}, b: {purposes: [profiling]}}", "# b, then a\ngroups: {b: {purposes: [profiling]}, a: {purposes: [profiling, analytics]}}"},
		{"purposes: {analytics: {categories: [C0002]}}", "gpc: [personalised_advertising, third_party_sharing]"},
	} {
		a, errA := ReadVocabulary(writeFile(t, pair[0]))
		b, errB := ReadVocabulary(writeFile(t, pair[1]))
		if errA != nil || errB != nil || a.Hash() != b.Hash() {
			t.Errorf("%s and %s have different hashes, errors %v, %v", pair[0], pair[1], errA, errB)
		}
	}
}

// FuzzDenied: a denial never takes less than a grant under the same name gives,
// nor an objection less than a denial, and no group is out of the table.
func FuzzDenied(f *testing.F) {
	for _, name := range []string{"analytics", "dpv:Marketing", "newsletter", "*", "https://w3id.org/dpv#Profiling", "DPV:x", "Direct Marketing", ""} {
		f.Add(name)
	}
	v := DefaultVocabulary()
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) {
			return
		}
		denied, every := v.Denied(name)
		objected, all := v.Objected(name)
		if p := v.Granted(name); p != NoPurpose && !every && !v.Set(denied).Has(p) {
			t.Errorf("a denial takes %s and a grant gives %s", v.Set(denied), p)
		}
		if every && !all || !v.Set(objected).Covers(v.Set(denied)) || every && denied != NoPurpose {
			t.Error("an objection takes less than a denial")
		}
		if denied != NoPurpose && v.Set(denied) == 0 || v.Granted(name).IsGroup() {
			t.Error("a name means a group that is none")
		}
	})
}

// FuzzReadVocabulary: what loads keeps the rules of a vocabulary.
func FuzzReadVocabulary(f *testing.F) {
	f.Add(defaultVocabularyFile)
	f.Add([]byte("purposes: {analytics: {names: [stats], tcf: [1]}}\ngroups: {a: {purposes: [analytics]}}\ngpc: [profiling]"))
	base, err := parseVocabulary("built-in", defaultVocabularyFile, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := parseVocabulary("own.yaml", data, base)
		if err != nil {
			return
		}
		v := w.compile()
		for p := Necessary; p < numPurposes; p++ {
			if v.Granted(p.String()) != p {
				t.Fatal("the name of a purpose has another meaning")
			}
		}
		for name, p := range v.granted {
			if denied, every := v.Denied(name); p.IsGroup() || !every && !v.Set(denied).Has(p) {
				t.Fatal("a denial takes less than a grant gives")
			}
		}
		for i := range v.groups {
			p := FirstGroup + Purpose(i)
			if got, known := v.ParseScope(v.Name(p)); !known || got != p || v.Set(p) == 0 {
				t.Fatal("a group cannot be found by its name, or is empty")
			}
		}
	})
}

func BenchmarkDenied(b *testing.B) {
	v := DefaultVocabulary()
	b.ReportAllocs()
	for b.Loop() {
		if p, _ := v.Denied("direct_marketing_email"); p != DirectMarketingEmail {
			b.Fatal("not the purpose")
		}
	}
}
