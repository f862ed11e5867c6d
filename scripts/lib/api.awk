# Prints the public API on one page of rustdoc. The variable `page` is the page's file name.
#
# Leaves out trait methods, blanket implementations, and auto traits other than Send and Sync. An
# implementation for another type of this crate is on the page of that type.

BEGIN { RS = "\001" }

{
    count = split($0, parts, /<(section|h2|pre class="rust item-decl")/)
    is_trait = page ~ /^trait\./
    list = ""
    for (i = 2; i <= count; i++) {
        part = parts[i]
        head = substr(part, 1, index(part, ">"))
        if (part ~ /^><code>/) {
            # The second one of a type alias is the aliased type.
            if (!declared++) {
                print declaration(between(part, "<code>", "</code></pre>"))
            }
        } else if (head ~ /class="section-header"/) {
            list = head
        } else if (list ~ /"(blanket-implementations|implementors|deref-methods-[^"]*)"/) {
            continue
        } else if (head ~ /class="impl"/) {
            header = between(part, "<h3 class=\"code-header\">", "</h3>")
            is_here = is_for_this(header) || is_trait
            if (list ~ /"synthetic-implementations"/) {
                is_here = header ~ /trait\.(Send|Sync)\.html/
            }
            # A derived PartialEq adds StructuralPartialEq.
            is_here = is_here && header !~ /trait\.StructuralPartialEq\.html/
            if (is_here) {
                print line(header)
            }
        } else if (head ~ /class="(method|associatedconstant|associatedtype)"/ && !is_trait && is_here) {
            print "    " line(between(part, "<h4 class=\"code-header\">", "</h4>"))
        }
    }
}

function between(text, start, end) {
    text = substr(text, index(text, start) + length(start))
    return substr(text, 1, index(text, end) - 1)
}

# Returns whether an implementation is for this page's type or for a type of another crate.
function is_for_this(header,    target) {
    target = header
    if (!sub(/.* for /, "", target)) {
        return 1
    }
    sub(/<div class="where">.*/, "", target)
    return target !~ /href="[^"]*\.html"/ || index(target, page "\"")
}

function declaration(html) {
    gsub(/<div class="code-attribute">[^<]*<\/div>/, "&\n", html)
    gsub(/<summary class="hideme">[^\001]*<\/summary>/, "", html)
    return plain(html)
}

function line(html) {
    html = plain(html)
    gsub(/[ \n]+/, " ", html)
    return html
}

function plain(html) {
    gsub(/<[^>]*>/, "", html)
    gsub(/&nbsp;/, " ", html)
    gsub(/&lt;/, "<", html)
    gsub(/&gt;/, ">", html)
    gsub(/&quot;/, "\"", html)
    gsub(/&#39;/, "'", html)
    gsub(/&amp;/, "\\&", html)
    gsub(/[ ]+\n/, "\n", html)
    return html
}
