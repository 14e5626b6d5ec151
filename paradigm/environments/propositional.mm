$( Propositional calculus from three axioms of J. Lukasiewicz, written by scripts/propositional_theory.py. $)
$c ( ) -> -. wff |- $.
$v p q r s t u $.
wp $f wff p $.
wq $f wff q $.
wr $f wff r $.
ws $f wff s $.
wt $f wff t $.
wu $f wff u $.
wn $a wff -. p $.
wi $a wff ( p -> q ) $.
ax-1 $a |- ( p -> ( q -> p ) ) $.
ax-2 $a |- ( ( p -> ( q -> r ) ) -> ( ( p -> q ) -> ( p -> r ) ) ) $.
ax-3 $a |- ( ( -. p -> -. q ) -> ( q -> p ) ) $.
${
  min $e |- p $.
  maj $e |- ( p -> q ) $.
  mp $a |- q $.
$}
id $p |- ( p -> p ) $=
  wp wp wp wi wi wp wp wi wp wp ax-1 wp wp wp wi wp wi wi wp wp wp wi wi wp wp wi wi wp wp wp wi ax-1 wp wp wp wi wp ax-2 mp mp $.
imim2 $p |- ( ( p -> q ) -> ( ( r -> p ) -> ( r -> q ) ) ) $=
  wp wq wi wr wp wq wi wi wi wp wq wi wr wp wi wr wq wi wi wi wp wq wi wr ax-1 wp wq wi wr wp wq wi wi wr wp wi wr wq wi wi wi wi wp wq wi wr
    wp wq wi wi wi wp wq wi wr wp wi wr wq wi wi wi wi wr wp wq wi wi wr wp wi wr wq wi wi wi wp wq wi wr wp wq wi wi wr wp wi wr wq wi wi wi wi
    wr wp wq ax-2 wr wp wq wi wi wr wp wi wr wq wi wi wi wp wq wi ax-1 mp wp wq wi wr wp wq wi wi wr wp wi wr wq wi wi ax-2 mp mp $.
com12 $p |- ( ( p -> ( q -> r ) ) -> ( q -> ( p -> r ) ) ) $=
  wp wq wr wi wi wq wp wq wi wi wi wp wq wr wi wi wq wp wr wi wi wi wq wp wq wi wi wp wq wr wi wi wq wp wq wi wi wi wq wp ax-1 wq wp wq wi wi
    wp wq wr wi wi ax-1 mp wp wq wr wi wi wq wp wq wi wi wq wp wr wi wi wi wi wp wq wr wi wi wq wp wq wi wi wi wp wq wr wi wi wq wp wr wi wi wi
    wi wp wq wr wi wi wp wq wi wp wr wi wi wi wp wq wr wi wi wq wp wq wi wi wq wp wr wi wi wi wi wp wq wr ax-2 wp wq wi wp wr wi wi wq wp wq wi
    wi wq wp wr wi wi wi wi wp wq wr wi wi wp wq wi wp wr wi wi wi wp wq wr wi wi wq wp wq wi wi wq wp wr wi wi wi wi wi wp wq wi wp wr wi wq
    imim2 wp wq wi wp wr wi wi wq wp wq wi wi wq wp wr wi wi wi wp wq wr wi wi imim2 mp mp wp wq wr wi wi wq wp wq wi wi wq wp wr wi wi ax-2 mp
    mp $.
imim1 $p |- ( ( p -> q ) -> ( ( q -> r ) -> ( p -> r ) ) ) $=
  wq wr wi wp wq wi wp wr wi wi wi wp wq wi wq wr wi wp wr wi wi wi wq wr wp imim2 wq wr wi wp wq wi wp wr wi com12 mp $.
pm2.43 $p |- ( ( p -> ( p -> q ) ) -> ( p -> q ) ) $=
  wp wp wi wp wp wq wi wi wp wq wi wi wp id wp wp wq wi wi wp wp wi wp wq wi wi wi wp wp wi wp wp wq wi wi wp wq wi wi wi wp wp wq ax-2 wp wp
    wq wi wi wp wp wi wp wq wi com12 mp mp $.
pm2.27 $p |- ( p -> ( ( p -> q ) -> q ) ) $=
  wp wq wi wp wq wi wi wp wp wq wi wq wi wi wp wq wi id wp wq wi wp wq com12 mp $.
a1d $p |- ( ( p -> q ) -> ( p -> ( r -> q ) ) ) $=
  wq wr wq wi wi wp wq wi wp wr wq wi wi wi wq wr ax-1 wq wr wq wi wp imim2 mp $.
a1dd $p |- ( ( p -> ( q -> r ) ) -> ( p -> ( q -> ( s -> r ) ) ) ) $=
  wq wr wi wq ws wr wi wi wi wp wq wr wi wi wp wq ws wr wi wi wi wi wr ws wr wi wi wq wr wi wq ws wr wi wi wi wr ws ax-1 wr ws wr wi wq imim2
    mp wq wr wi wq ws wr wi wi wp imim2 mp $.
com23 $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( p -> ( r -> ( q -> s ) ) ) ) $=
  wq wr ws wi wi wr wq ws wi wi wi wp wq wr ws wi wi wi wp wr wq ws wi wi wi wi wq wr ws com12 wq wr ws wi wi wr wq ws wi wi wp imim2 mp $.
com13 $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( r -> ( q -> ( p -> s ) ) ) ) $=
  wp wq wr ws wi wi wi wq wr wp ws wi wi wi wi wp wq wr ws wi wi wi wr wq wp ws wi wi wi wi wp wq wr ws wi wi wi wq wp wr ws wi wi wi wi wp wq
    wr ws wi wi wi wq wr wp ws wi wi wi wi wp wq wr ws wi com12 wq wp wr ws wi wi wi wq wr wp ws wi wi wi wi wp wq wr ws wi wi wi wq wp wr ws wi
    wi wi wi wp wq wr ws wi wi wi wq wr wp ws wi wi wi wi wi wp wr ws wi wi wr wp ws wi wi wi wq wp wr ws wi wi wi wq wr wp ws wi wi wi wi wp wr
    ws com12 wp wr ws wi wi wr wp ws wi wi wq imim2 mp wq wp wr ws wi wi wi wq wr wp ws wi wi wi wp wq wr ws wi wi wi imim2 mp mp wq wr wp ws wi
    wi wi wr wq wp ws wi wi wi wi wp wq wr ws wi wi wi wq wr wp ws wi wi wi wi wp wq wr ws wi wi wi wr wq wp ws wi wi wi wi wi wq wr wp ws wi
    com12 wq wr wp ws wi wi wi wr wq wp ws wi wi wi wp wq wr ws wi wi wi imim2 mp mp $.
com3l $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( q -> ( r -> ( p -> s ) ) ) ) $=
  wp wq wr ws wi wi wi wq wp wr ws wi wi wi wi wp wq wr ws wi wi wi wq wr wp ws wi wi wi wi wp wq wr ws wi com12 wq wp wr ws wi wi wi wq wr wp
    ws wi wi wi wi wp wq wr ws wi wi wi wq wp wr ws wi wi wi wi wp wq wr ws wi wi wi wq wr wp ws wi wi wi wi wi wp wr ws wi wi wr wp ws wi wi wi
    wq wp wr ws wi wi wi wq wr wp ws wi wi wi wi wp wr ws com12 wp wr ws wi wi wr wp ws wi wi wq imim2 mp wq wp wr ws wi wi wi wq wr wp ws wi wi
    wi wp wq wr ws wi wi wi imim2 mp mp $.
com3r $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( r -> ( p -> ( q -> s ) ) ) ) $=
  wp wq wr ws wi wi wi wp wr wq ws wi wi wi wi wp wq wr ws wi wi wi wr wp wq ws wi wi wi wi wq wr ws wi wi wr wq ws wi wi wi wp wq wr ws wi wi
    wi wp wr wq ws wi wi wi wi wq wr ws com12 wq wr ws wi wi wr wq ws wi wi wp imim2 mp wp wr wq ws wi wi wi wr wp wq ws wi wi wi wi wp wq wr ws
    wi wi wi wp wr wq ws wi wi wi wi wp wq wr ws wi wi wi wr wp wq ws wi wi wi wi wi wp wr wq ws wi com12 wp wr wq ws wi wi wi wr wp wq ws wi wi
    wi wp wq wr ws wi wi wi imim2 mp mp $.
com34 $p |- ( ( p -> ( q -> ( r -> ( s -> t ) ) ) ) -> ( p -> ( q -> ( s -> ( r -> t ) ) ) ) ) $=
  wq wr ws wt wi wi wi wq ws wr wt wi wi wi wi wp wq wr ws wt wi wi wi wi wp wq ws wr wt wi wi wi wi wi wr ws wt wi wi ws wr wt wi wi wi wq wr
    ws wt wi wi wi wq ws wr wt wi wi wi wi wr ws wt com12 wr ws wt wi wi ws wr wt wi wi wq imim2 mp wq wr ws wt wi wi wi wq ws wr wt wi wi wi wp
    imim2 mp $.
com14 $p |- ( ( p -> ( q -> ( r -> ( s -> t ) ) ) ) -> ( s -> ( q -> ( r -> ( p -> t ) ) ) ) ) $=
  wp wq wr ws wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi ws wq wr wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi
    wq wr ws wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq wr wp ws wt wi wi wi wi
    wi wp wq wr ws wt wi wi wi wi wq wr ws wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq wp wr ws wt wi wi wi wi wi wp wq wr ws wt wi wi wi
    wi wq wr wp ws wt wi wi wi wi wi wp wq wr ws wt wi wi com12 wq wp wr ws wt wi wi wi wi wq wr wp ws wt wi wi wi wi wi wp wq wr ws wt wi wi wi
    wi wq wp wr ws wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq wr wp ws wt wi wi wi wi wi wi wp wr ws wt wi wi wi wr wp ws wt wi wi wi wi wq
    wp wr ws wt wi wi wi wi wq wr wp ws wt wi wi wi wi wi wp wr ws wt wi com12 wp wr ws wt wi wi wi wr wp ws wt wi wi wi wq imim2 mp wq wp wr ws
    wt wi wi wi wi wq wr wp ws wt wi wi wi wi wp wq wr ws wt wi wi wi wi imim2 mp mp wq wr wp ws wt wi wi wi wi wq wr ws wp wt wi wi wi wi wi wp
    wq wr ws wt wi wi wi wi wq wr wp ws wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq wr ws wp wt wi wi wi wi wi wi wr wp ws wt wi wi wi wr ws
    wp wt wi wi wi wi wq wr wp ws wt wi wi wi wi wq wr ws wp wt wi wi wi wi wi wp ws wt wi wi ws wp wt wi wi wi wr wp ws wt wi wi wi wr ws wp wt
    wi wi wi wi wp ws wt com12 wp ws wt wi wi ws wp wt wi wi wr imim2 mp wr wp ws wt wi wi wi wr ws wp wt wi wi wi wq imim2 mp wq wr wp ws wt wi
    wi wi wi wq wr ws wp wt wi wi wi wi wp wq wr ws wt wi wi wi wi imim2 mp mp wq wr ws wp wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wp wq wr
    ws wt wi wi wi wi wq wr ws wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wi wr ws wp wt wi wi wi ws wr wp wt
    wi wi wi wi wq wr ws wp wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wr ws wp wt wi com12 wr ws wp wt wi wi wi ws wr wp wt wi wi wi wq imim2
    mp wq wr ws wp wt wi wi wi wi wq ws wr wp wt wi wi wi wi wp wq wr ws wt wi wi wi wi imim2 mp mp wq ws wr wp wt wi wi wi wi ws wq wr wp wt wi
    wi wi wi wi wp wq wr ws wt wi wi wi wi wq ws wr wp wt wi wi wi wi wi wp wq wr ws wt wi wi wi wi ws wq wr wp wt wi wi wi wi wi wi wq ws wr wp
    wt wi wi com12 wq ws wr wp wt wi wi wi wi ws wq wr wp wt wi wi wi wi wp wq wr ws wt wi wi wi wi imim2 mp mp $.
pm2.86 $p |- ( ( ( p -> q ) -> ( r -> s ) ) -> ( r -> ( q -> s ) ) ) $=
  wp wq wi wr ws wi wi wq wr ws wi wi wi wp wq wi wr ws wi wi wr wq ws wi wi wi wq wp wq wi wi wp wq wi wr ws wi wi wq wr ws wi wi wi wq wp
    ax-1 wp wq wi wr ws wi wi wq wp wq wi wi wq wr ws wi wi wi wi wq wp wq wi wi wp wq wi wr ws wi wi wq wr ws wi wi wi wi wp wq wi wr ws wi wq
    imim2 wp wq wi wr ws wi wi wq wp wq wi wi wq wr ws wi wi com12 mp mp wq wr ws wi wi wr wq ws wi wi wi wp wq wi wr ws wi wi wq wr ws wi wi wi
    wp wq wi wr ws wi wi wr wq ws wi wi wi wi wq wr ws com12 wq wr ws wi wi wr wq ws wi wi wp wq wi wr ws wi wi imim2 mp mp $.
jarr $p |- ( ( ( p -> q ) -> r ) -> ( q -> r ) ) $=
  wq wp wq wi wi wp wq wi wr wi wq wr wi wi wq wp ax-1 wp wq wi wr wi wq wp wq wi wi wq wr wi wi wi wq wp wq wi wi wp wq wi wr wi wq wr wi wi
    wi wp wq wi wr wq imim2 wp wq wi wr wi wq wp wq wi wi wq wr wi com12 mp mp $.
jarl $p |- ( ( ( p -> q ) -> r ) -> ( -. p -> r ) ) $=
  wp wn wp wq wi wi wp wq wi wr wi wp wn wr wi wi wp wn wq wn wp wn wi wi wp wn wp wq wi wi wp wn wq wn ax-1 wq wn wp wn wi wp wq wi wi wp wn
    wq wn wp wn wi wi wp wn wp wq wi wi wi wq wp ax-3 wq wn wp wn wi wp wq wi wp wn imim2 mp mp wp wq wi wr wi wp wn wp wq wi wi wp wn wr wi wi
    wi wp wn wp wq wi wi wp wq wi wr wi wp wn wr wi wi wi wp wq wi wr wp wn imim2 wp wq wi wr wi wp wn wp wq wi wi wp wn wr wi com12 mp mp $.
imim12 $p |- ( ( p -> q ) -> ( ( r -> s ) -> ( ( q -> r ) -> ( p -> s ) ) ) ) $=
  wp wq wi wq wr wi wp wr wi wi wi wp wq wi wr ws wi wq wr wi wp ws wi wi wi wi wq wr wi wp wq wi wp wr wi wi wi wp wq wi wq wr wi wp wr wi wi
    wi wq wr wp imim2 wq wr wi wp wq wi wp wr wi com12 mp wq wr wi wp wr wi wi wr ws wi wq wr wi wp ws wi wi wi wi wp wq wi wq wr wi wp wr wi wi
    wi wp wq wi wr ws wi wq wr wi wp ws wi wi wi wi wi wr ws wi wq wr wi wp wr wi wi wq wr wi wp ws wi wi wi wi wq wr wi wp wr wi wi wr ws wi wq
    wr wi wp ws wi wi wi wi wr ws wi wp wr wi wp ws wi wi wi wr ws wi wq wr wi wp wr wi wi wq wr wi wp ws wi wi wi wi wr ws wp imim2 wp wr wi wp
    ws wi wi wq wr wi wp wr wi wi wq wr wi wp ws wi wi wi wi wr ws wi wp wr wi wp ws wi wi wi wr ws wi wq wr wi wp wr wi wi wq wr wi wp ws wi wi
    wi wi wi wp wr wi wp ws wi wq wr wi imim2 wp wr wi wp ws wi wi wq wr wi wp wr wi wi wq wr wi wp ws wi wi wi wr ws wi imim2 mp mp wr ws wi wq
    wr wi wp wr wi wi wq wr wi wp ws wi wi com12 mp wq wr wi wp wr wi wi wr ws wi wq wr wi wp ws wi wi wi wp wq wi imim2 mp mp $.
imim3 $p |- ( ( p -> ( q -> r ) ) -> ( ( s -> q ) -> ( ( s -> p ) -> ( s -> r ) ) ) ) $=
  wp wq wr wi wi ws wp wi ws wq wi ws wr wi wi wi wi wp wq wr wi wi ws wq wi ws wp wi ws wr wi wi wi wi wp wq wr wi wi ws wp wi ws wq wr wi wi
    wi wi wp wq wr wi wi ws wp wi ws wq wi ws wr wi wi wi wi wp wq wr wi ws imim2 ws wp wi ws wq wr wi wi wi ws wp wi ws wq wi ws wr wi wi wi wi
    wp wq wr wi wi ws wp wi ws wq wr wi wi wi wi wp wq wr wi wi ws wp wi ws wq wi ws wr wi wi wi wi wi ws wq wr wi wi ws wq wi ws wr wi wi wi ws
    wp wi ws wq wr wi wi wi ws wp wi ws wq wi ws wr wi wi wi wi ws wq wr ax-2 ws wq wr wi wi ws wq wi ws wr wi wi ws wp wi imim2 mp ws wp wi ws
    wq wr wi wi wi ws wp wi ws wq wi ws wr wi wi wi wp wq wr wi wi imim2 mp mp ws wp wi ws wq wi ws wr wi wi wi ws wq wi ws wp wi ws wr wi wi wi
    wi wp wq wr wi wi ws wp wi ws wq wi ws wr wi wi wi wi wp wq wr wi wi ws wq wi ws wp wi ws wr wi wi wi wi wi ws wp wi ws wq wi ws wr wi com12
    ws wp wi ws wq wi ws wr wi wi wi ws wq wi ws wp wi ws wr wi wi wi wp wq wr wi wi imim2 mp mp $.
loowoz $p |- ( ( ( p -> q ) -> ( r -> s ) ) -> ( ( q -> r ) -> ( q -> s ) ) ) $=
  wp wq wi wr ws wi wi wq wr ws wi wi wi wp wq wi wr ws wi wi wq wr wi wq ws wi wi wi wq wp wq wi wi wp wq wi wr ws wi wi wq wr ws wi wi wi wq
    wp ax-1 wp wq wi wr ws wi wi wq wp wq wi wi wq wr ws wi wi wi wi wq wp wq wi wi wp wq wi wr ws wi wi wq wr ws wi wi wi wi wp wq wi wr ws wi
    wq imim2 wp wq wi wr ws wi wi wq wp wq wi wi wq wr ws wi wi com12 mp mp wq wr ws wi wi wq wr wi wq ws wi wi wi wp wq wi wr ws wi wi wq wr ws
    wi wi wi wp wq wi wr ws wi wi wq wr wi wq ws wi wi wi wi wq wr ws ax-2 wq wr ws wi wi wq wr wi wq ws wi wi wp wq wi wr ws wi wi imim2 mp mp $.
syl5 $p |- ( ( p -> q ) -> ( ( r -> ( q -> s ) ) -> ( r -> ( p -> s ) ) ) ) $=
  wr wq ws wi wi wp wq wi wr wp ws wi wi wi wi wp wq wi wr wq ws wi wi wr wp ws wi wi wi wi wr wq ws wi wi wr wp wq wi wp ws wi wi wi wi wr wq
    ws wi wi wp wq wi wr wp ws wi wi wi wi wq ws wi wp wq wi wp ws wi wi wi wr wq ws wi wi wr wp wq wi wp ws wi wi wi wi wq ws wp imim2 wq ws wi
    wp wq wi wp ws wi wi wr imim2 mp wr wp wq wi wp ws wi wi wi wp wq wi wr wp ws wi wi wi wi wr wq ws wi wi wr wp wq wi wp ws wi wi wi wi wr wq
    ws wi wi wp wq wi wr wp ws wi wi wi wi wi wr wp wq wi wp ws wi com12 wr wp wq wi wp ws wi wi wi wp wq wi wr wp ws wi wi wi wr wq ws wi wi
    imim2 mp mp wr wq ws wi wi wp wq wi wr wp ws wi wi com12 mp $.
syl6 $p |- ( ( p -> ( q -> r ) ) -> ( ( r -> s ) -> ( p -> ( q -> s ) ) ) ) $=
  wr ws wi wp wq wr wi wi wp wq ws wi wi wi wi wp wq wr wi wi wr ws wi wp wq ws wi wi wi wi wr ws wi wq wr wi wq ws wi wi wi wr ws wi wp wq wr
    wi wi wp wq ws wi wi wi wi wr ws wq imim2 wq wr wi wq ws wi wi wp wq wr wi wi wp wq ws wi wi wi wi wr ws wi wq wr wi wq ws wi wi wi wr ws wi
    wp wq wr wi wi wp wq ws wi wi wi wi wi wq wr wi wq ws wi wp imim2 wq wr wi wq ws wi wi wp wq wr wi wi wp wq ws wi wi wi wr ws wi imim2 mp mp
    wr ws wi wp wq wr wi wi wp wq ws wi wi com12 mp $.
sylc $p |- ( ( p -> q ) -> ( ( p -> r ) -> ( ( q -> ( r -> s ) ) -> ( p -> s ) ) ) ) $=
  wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wp wq wi wp wr wi wq wr ws wi wi wp ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr ws wi wi
    wi wi wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wq wr ws wi wi wp wq wi wp wr ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr ws wi wi
    wi wi wq wr ws wi wp imim2 wq wr ws wi wi wp wq wi wp wr ws wi wi com12 mp wq wr ws wi wi wp wr ws wi wi wi wq wr ws wi wi wp wr wi wp ws wi
    wi wi wi wp wq wi wq wr ws wi wi wp wr ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wi wp wr ws wi wi wp wr wi wp ws wi
    wi wi wq wr ws wi wi wp wr ws wi wi wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wp wr ws ax-2 wp wr ws wi wi wp wr wi wp ws wi wi wq wr ws
    wi wi imim2 mp wq wr ws wi wi wp wr ws wi wi wi wq wr ws wi wi wp wr wi wp ws wi wi wi wp wq wi imim2 mp mp wq wr ws wi wi wp wr wi wp ws wi
    wi wi wp wr wi wq wr ws wi wi wp ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wp wq wi wp wr wi wq wr ws wi wi wp ws wi
    wi wi wi wi wq wr ws wi wi wp wr wi wp ws wi com12 wq wr ws wi wi wp wr wi wp ws wi wi wi wp wr wi wq wr ws wi wi wp ws wi wi wi wp wq wi
    imim2 mp mp $.
mpid $p |- ( ( p -> q ) -> ( ( p -> ( q -> r ) ) -> ( p -> r ) ) ) $=
  wp wq wr wi wi wp wq wi wp wr wi wi wi wp wq wi wp wq wr wi wi wp wr wi wi wi wp wq wr ax-2 wp wq wr wi wi wp wq wi wp wr wi com12 mp $.
mpdd $p |- ( ( p -> ( q -> r ) ) -> ( ( p -> ( q -> ( r -> s ) ) ) -> ( p -> ( q -> s ) ) ) ) $=
  wp wq wr ws wi wi wi wp wq wr wi wi wp wq ws wi wi wi wi wp wq wr wi wi wp wq wr ws wi wi wi wp wq ws wi wi wi wi wp wq wr ws wi wi wi wp wq
    wr wi wq ws wi wi wi wi wp wq wr ws wi wi wi wp wq wr wi wi wp wq ws wi wi wi wi wq wr ws wi wi wq wr wi wq ws wi wi wi wp wq wr ws wi wi wi
    wp wq wr wi wq ws wi wi wi wi wq wr ws ax-2 wq wr ws wi wi wq wr wi wq ws wi wi wp imim2 mp wp wq wr wi wq ws wi wi wi wp wq wr wi wi wp wq
    ws wi wi wi wi wp wq wr ws wi wi wi wp wq wr wi wq ws wi wi wi wi wp wq wr ws wi wi wi wp wq wr wi wi wp wq ws wi wi wi wi wi wp wq wr wi wq
    ws wi ax-2 wp wq wr wi wq ws wi wi wi wp wq wr wi wi wp wq ws wi wi wi wp wq wr ws wi wi wi imim2 mp mp wp wq wr ws wi wi wi wp wq wr wi wi
    wp wq ws wi wi com12 mp $.
syldd $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( ( p -> ( q -> ( s -> t ) ) ) -> ( p -> ( q -> ( r -> t ) ) ) ) ) $=
  wp wq ws wt wi wi wi wp wq wr ws wi wi wi wp wq wr wt wi wi wi wi wi wp wq wr ws wi wi wi wp wq ws wt wi wi wi wp wq wr wt wi wi wi wi wi wp
    wq ws wt wi wi wi wp wq wr ws wi wi wq wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wi wi wp wq wr wt wi wi wi wi wi wp wq ws wt
    wi wi wi wp wq wr ws wi wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wi wq wr wt wi wi wi wi wi wq ws wt wi wi wq wr ws wi wr wt
    wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wr wt wi wi wi wi wi ws wt wi wr ws wi wr wt wi wi wi wq ws wt wi wi wq wr ws wi wr wt wi wi
    wi wi ws wt wr imim2 ws wt wi wr ws wi wr wt wi wi wq imim2 mp wq ws wt wi wi wq wr ws wi wr wt wi wi wi wp imim2 mp wp wq wr ws wi wr wt wi
    wi wi wi wp wq wr ws wi wi wq wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws
    wi wi wq wr wt wi wi wi wi wi wi wq wr ws wi wr wt wi wi wi wq wr ws wi wi wq wr wt wi wi wi wi wp wq wr ws wi wr wt wi wi wi wi wp wq wr ws
    wi wi wq wr wt wi wi wi wi wi wq wr ws wi wr wt wi ax-2 wq wr ws wi wr wt wi wi wi wq wr ws wi wi wq wr wt wi wi wi wp imim2 mp wp wq wr ws
    wi wr wt wi wi wi wi wp wq wr ws wi wi wq wr wt wi wi wi wi wp wq ws wt wi wi wi imim2 mp mp wp wq wr ws wi wi wq wr wt wi wi wi wi wp wq wr
    ws wi wi wi wp wq wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wi wq wr wt wi wi wi wi wi wp wq ws wt wi wi wi wp wq wr ws wi wi
    wi wp wq wr wt wi wi wi wi wi wi wp wq wr ws wi wi wq wr wt wi wi ax-2 wp wq wr ws wi wi wq wr wt wi wi wi wi wp wq wr ws wi wi wi wp wq wr
    wt wi wi wi wi wp wq ws wt wi wi wi imim2 mp mp wp wq ws wt wi wi wi wp wq wr ws wi wi wi wp wq wr wt wi wi wi com12 mp $.
pm2.43a $p |- ( ( p -> ( q -> ( p -> r ) ) ) -> ( p -> ( q -> r ) ) ) $=
  wp wp wi wp wq wp wr wi wi wi wp wq wr wi wi wi wp id wp wq wp wr wi wi wi wp wp wi wp wq wr wi wi wi wi wp wp wi wp wq wp wr wi wi wi wp wq
    wr wi wi wi wi wp wq wp wr wi wi wi wp wp wq wr wi wi wi wi wp wq wp wr wi wi wi wp wp wi wp wq wr wi wi wi wi wq wp wr wi wi wp wq wr wi wi
    wi wp wq wp wr wi wi wi wp wp wq wr wi wi wi wi wq wp wr com12 wq wp wr wi wi wp wq wr wi wi wp imim2 mp wp wp wq wr wi wi wi wp wp wi wp wq
    wr wi wi wi wi wp wq wp wr wi wi wi wp wp wq wr wi wi wi wi wp wq wp wr wi wi wi wp wp wi wp wq wr wi wi wi wi wi wp wp wq wr wi ax-2 wp wp
    wq wr wi wi wi wp wp wi wp wq wr wi wi wi wp wq wp wr wi wi wi imim2 mp mp wp wq wp wr wi wi wi wp wp wi wp wq wr wi wi com12 mp mp $.
pm2.83 $p |- ( ( p -> ( q -> r ) ) -> ( ( p -> ( r -> s ) ) -> ( p -> ( q -> s ) ) ) ) $=
  wp wr ws wi wi wp wq wr wi wi wp wq ws wi wi wi wi wp wq wr wi wi wp wr ws wi wi wp wq ws wi wi wi wi wp wr ws wi wi wp wq wr wi wq ws wi wi
    wi wi wp wr ws wi wi wp wq wr wi wi wp wq ws wi wi wi wi wr ws wi wq wr wi wq ws wi wi wi wp wr ws wi wi wp wq wr wi wq ws wi wi wi wi wr ws
    wq imim2 wr ws wi wq wr wi wq ws wi wi wp imim2 mp wp wq wr wi wq ws wi wi wi wp wq wr wi wi wp wq ws wi wi wi wi wp wr ws wi wi wp wq wr wi
    wq ws wi wi wi wi wp wr ws wi wi wp wq wr wi wi wp wq ws wi wi wi wi wi wp wq wr wi wq ws wi ax-2 wp wq wr wi wq ws wi wi wi wp wq wr wi wi
    wp wq ws wi wi wi wp wr ws wi wi imim2 mp mp wp wr ws wi wi wp wq wr wi wi wp wq ws wi wi com12 mp $.
embant $p |- ( p -> ( ( p -> q ) -> ( ( q -> r ) -> r ) ) ) $=
  wp wp wq wi wq wi wi wp wp wq wi wq wr wi wr wi wi wi wp wq wi wp wq wi wi wp wp wq wi wq wi wi wp wq wi id wp wq wi wp wq com12 mp wp wq wi
    wq wi wp wq wi wq wr wi wr wi wi wi wp wp wq wi wq wi wi wp wp wq wi wq wr wi wr wi wi wi wi wq wq wr wi wr wi wi wp wq wi wq wi wp wq wi wq
    wr wi wr wi wi wi wq wr wi wq wr wi wi wq wq wr wi wr wi wi wq wr wi id wq wr wi wq wr com12 mp wq wq wr wi wr wi wp wq wi imim2 mp wp wq wi
    wq wi wp wq wi wq wr wi wr wi wi wp imim2 mp mp $.
pm2.21 $p |- ( -. p -> ( p -> q ) ) $=
  wp wn wq wn wp wn wi wi wp wn wp wq wi wi wp wn wq wn ax-1 wq wn wp wn wi wp wq wi wi wp wn wq wn wp wn wi wi wp wn wp wq wi wi wi wq wp
    ax-3 wq wn wp wn wi wp wq wi wp wn imim2 mp mp $.
pm2.24 $p |- ( p -> ( -. p -> q ) ) $=
  wp wn wp wq wi wi wp wp wn wq wi wi wp wq pm2.21 wp wn wp wq com12 mp $.
pm2.18 $p |- ( ( -. p -> p ) -> p ) $=
  wp wn wp wi wp wn wp wi wi wp wn wp wi wp wi wp wn wp wi id wp wn wp wi wp wn wp wi wp wi wi wp wn wp wi wp wn wp wi wi wp wn wp wi wp wi wi
    wp wn wp wi wp wn wp wn wp wi wn wi wi wp wn wp wi wp wn wp wi wp wi wi wp wn wp wp wn wp wi wn wi wi wp wn wp wi wp wn wp wn wp wi wn wi wi
    wp wp wn wp wi wn pm2.21 wp wn wp wp wn wp wi wn ax-2 mp wp wn wp wn wp wi wn wi wp wn wp wi wp wi wi wp wn wp wi wp wn wp wn wp wi wn wi wi
    wp wn wp wi wp wn wp wi wp wi wi wi wp wp wn wp wi ax-3 wp wn wp wn wp wi wn wi wp wn wp wi wp wi wp wn wp wi imim2 mp mp wp wn wp wi wp wn
    wp wi wp ax-2 mp mp $.
notnotr $p |- ( -. -. p -> p ) $=
  wp wn wn wp wn wp wi wi wp wn wn wp wi wp wn wp pm2.21 wp wn wp wi wp wi wp wn wn wp wn wp wi wi wp wn wn wp wi wi wp pm2.18 wp wn wp wi wp
    wp wn wn imim2 mp mp $.
notnot $p |- ( p -> -. -. p ) $=
  wp wn wn wn wp wn wi wp wp wn wn wi wp wn notnotr wp wn wn wp ax-3 mp $.
con1 $p |- ( ( -. p -> q ) -> ( -. q -> p ) ) $=
  wp wn wq wi wp wn wq wn wn wi wi wp wn wq wi wq wn wp wi wi wq wq wn wn wi wp wn wq wi wp wn wq wn wn wi wi wq notnot wq wq wn wn wp wn
    imim2 mp wp wn wq wn wn wi wq wn wp wi wi wp wn wq wi wp wn wq wn wn wi wi wp wn wq wi wq wn wp wi wi wi wp wq wn ax-3 wp wn wq wn wn wi wq
    wn wp wi wp wn wq wi imim2 mp mp $.
con2 $p |- ( ( p -> -. q ) -> ( q -> -. p ) ) $=
  wp wq wn wi wp wn wn wq wn wi wi wp wq wn wi wq wp wn wi wi wp wn wn wp wi wp wq wn wi wp wn wn wq wn wi wi wp notnotr wp wq wn wi wp wn wn
    wp wi wp wn wn wq wn wi wi wi wp wn wn wp wi wp wq wn wi wp wn wn wq wn wi wi wi wp wq wn wp wn wn imim2 wp wq wn wi wp wn wn wp wi wp wn wn
    wq wn wi com12 mp mp wp wn wn wq wn wi wq wp wn wi wi wp wq wn wi wp wn wn wq wn wi wi wp wq wn wi wq wp wn wi wi wi wp wn wq ax-3 wp wn wn
    wq wn wi wq wp wn wi wp wq wn wi imim2 mp mp $.
con3 $p |- ( ( p -> q ) -> ( -. q -> -. p ) ) $=
  wp wq wi wp wn wn wq wn wn wi wi wp wq wi wq wn wp wn wi wi wp wq wi wp wn wn wq wi wi wp wq wi wp wn wn wq wn wn wi wi wp wn wn wp wi wp wq
    wi wp wn wn wq wi wi wp notnotr wp wq wi wp wn wn wp wi wp wn wn wq wi wi wi wp wn wn wp wi wp wq wi wp wn wn wq wi wi wi wp wq wp wn wn
    imim2 wp wq wi wp wn wn wp wi wp wn wn wq wi com12 mp mp wp wn wn wq wi wp wn wn wq wn wn wi wi wp wq wi wp wn wn wq wi wi wp wq wi wp wn wn
    wq wn wn wi wi wi wq wq wn wn wi wp wn wn wq wi wp wn wn wq wn wn wi wi wq notnot wq wq wn wn wp wn wn imim2 mp wp wn wn wq wi wp wn wn wq
    wn wn wi wp wq wi imim2 mp mp wp wn wn wq wn wn wi wq wn wp wn wi wi wp wq wi wp wn wn wq wn wn wi wi wp wq wi wq wn wp wn wi wi wi wp wn wq
    wn ax-3 wp wn wn wq wn wn wi wq wn wp wn wi wp wq wi imim2 mp mp $.
pm2.01 $p |- ( ( p -> -. p ) -> -. p ) $=
  wp wp wn wi wp wn wn wp wn wi wi wp wp wn wi wp wn wi wp wn wn wp wi wp wp wn wi wp wn wn wp wn wi wi wp notnotr wp wp wn wi wp wn wn wp wi
    wp wn wn wp wn wi wi wi wp wn wn wp wi wp wp wn wi wp wn wn wp wn wi wi wi wp wp wn wp wn wn imim2 wp wp wn wi wp wn wn wp wi wp wn wn wp wn
    wi com12 mp mp wp wn wn wp wn wi wp wn wi wp wp wn wi wp wn wn wp wn wi wi wp wp wn wi wp wn wi wi wp wn pm2.18 wp wn wn wp wn wi wp wn wp
    wp wn wi imim2 mp mp $.
pm2.6 $p |- ( ( -. p -> q ) -> ( ( p -> q ) -> q ) ) $=
  wp wn wq wi wp wq wi wq wn wq wi wi wi wp wn wq wi wp wq wi wq wi wi wp wn wq wi wq wn wp wi wi wp wn wq wi wp wq wi wq wn wq wi wi wi wp wq
    con1 wq wn wp wi wp wq wi wq wn wq wi wi wi wp wn wq wi wq wn wp wi wi wp wn wq wi wp wq wi wq wn wq wi wi wi wi wp wq wi wq wn wp wi wq wn
    wq wi wi wi wq wn wp wi wp wq wi wq wn wq wi wi wi wp wq wq wn imim2 wp wq wi wq wn wp wi wq wn wq wi com12 mp wq wn wp wi wp wq wi wq wn wq
    wi wi wp wn wq wi imim2 mp mp wp wq wi wq wn wq wi wi wp wq wi wq wi wi wp wn wq wi wp wq wi wq wn wq wi wi wi wp wn wq wi wp wq wi wq wi wi
    wi wq wn wq wi wq wi wp wq wi wq wn wq wi wi wp wq wi wq wi wi wq pm2.18 wq wn wq wi wq wp wq wi imim2 mp wp wq wi wq wn wq wi wi wp wq wi
    wq wi wp wn wq wi imim2 mp mp $.
pm2.61 $p |- ( ( p -> q ) -> ( ( -. p -> q ) -> q ) ) $=
  wp wn wq wi wp wq wi wq wi wi wp wq wi wp wn wq wi wq wi wi wp wq pm2.6 wp wn wq wi wp wq wi wq com12 mp $.
pm2.65 $p |- ( ( p -> q ) -> ( ( p -> -. q ) -> -. p ) ) $=
  wp wq wi wp wq wn wi wp wp wn wi wi wi wp wq wi wp wq wn wi wp wn wi wi wp wq wn wi wp wq wi wp wp wn wi wi wi wp wq wi wp wq wn wi wp wp wn
    wi wi wi wp wq wn wi wp wq wp wn wi wi wi wp wq wn wi wp wq wi wp wp wn wi wi wi wq wn wq wp wn wi wi wp wq wn wi wp wq wp wn wi wi wi wq wp
    wn pm2.21 wq wn wq wp wn wi wp imim2 mp wp wq wp wn wi wi wp wq wi wp wp wn wi wi wi wp wq wn wi wp wq wp wn wi wi wi wp wq wn wi wp wq wi
    wp wp wn wi wi wi wi wp wq wp wn ax-2 wp wq wp wn wi wi wp wq wi wp wp wn wi wi wp wq wn wi imim2 mp mp wp wq wn wi wp wq wi wp wp wn wi
    com12 mp wp wq wn wi wp wp wn wi wi wp wq wn wi wp wn wi wi wp wq wi wp wq wn wi wp wp wn wi wi wi wp wq wi wp wq wn wi wp wn wi wi wi wp wp
    wn wi wp wn wi wp wq wn wi wp wp wn wi wi wp wq wn wi wp wn wi wi wp pm2.01 wp wp wn wi wp wn wp wq wn wi imim2 mp wp wq wn wi wp wp wn wi
    wi wp wq wn wi wp wn wi wp wq wi imim2 mp mp $.
pm2.68 $p |- ( ( ( p -> q ) -> r ) -> ( ( -. q -> r ) -> r ) ) $=
  wp wq wi wr wi wq wr wi wi wp wq wi wr wi wq wn wr wi wr wi wi wq wp wq wi wi wp wq wi wr wi wq wr wi wi wq wp ax-1 wp wq wi wr wi wq wp wq
    wi wi wq wr wi wi wi wq wp wq wi wi wp wq wi wr wi wq wr wi wi wi wp wq wi wr wq imim2 wp wq wi wr wi wq wp wq wi wi wq wr wi com12 mp mp wq
    wr wi wq wn wr wi wr wi wi wp wq wi wr wi wq wr wi wi wp wq wi wr wi wq wn wr wi wr wi wi wi wq wn wr wi wq wr wi wr wi wi wq wr wi wq wn wr
    wi wr wi wi wq wr pm2.6 wq wn wr wi wq wr wi wr com12 mp wq wr wi wq wn wr wi wr wi wp wq wi wr wi imim2 mp mp $.
peirce $p |- ( ( ( p -> q ) -> p ) -> p ) $=
  wp wq wi wp wi wp wn wp wi wi wp wq wi wp wi wp wi wp wn wp wq wi wi wp wq wi wp wi wp wn wp wi wi wp wq pm2.21 wp wq wi wp wi wp wn wp wq
    wi wi wp wn wp wi wi wi wp wn wp wq wi wi wp wq wi wp wi wp wn wp wi wi wi wp wq wi wp wp wn imim2 wp wq wi wp wi wp wn wp wq wi wi wp wn wp
    wi com12 mp mp wp wn wp wi wp wi wp wq wi wp wi wp wn wp wi wi wp wq wi wp wi wp wi wi wp pm2.18 wp wn wp wi wp wp wq wi wp wi imim2 mp mp $.
looinv $p |- ( ( ( p -> q ) -> r ) -> ( ( r -> p ) -> p ) ) $=
  wp wq wi wr wi wr wp wi wp wn wp wi wi wi wp wq wi wr wi wr wp wi wp wi wi wp wq wi wr wi wp wn wr wi wi wp wq wi wr wi wr wp wi wp wn wp wi
    wi wi wp wn wp wq wi wi wp wq wi wr wi wp wn wr wi wi wp wq pm2.21 wp wq wi wr wi wp wn wp wq wi wi wp wn wr wi wi wi wp wn wp wq wi wi wp
    wq wi wr wi wp wn wr wi wi wi wp wq wi wr wp wn imim2 wp wq wi wr wi wp wn wp wq wi wi wp wn wr wi com12 mp mp wp wn wr wi wr wp wi wp wn wp
    wi wi wi wp wq wi wr wi wp wn wr wi wi wp wq wi wr wi wr wp wi wp wn wp wi wi wi wi wr wp wi wp wn wr wi wp wn wp wi wi wi wp wn wr wi wr wp
    wi wp wn wp wi wi wi wr wp wp wn imim2 wr wp wi wp wn wr wi wp wn wp wi com12 mp wp wn wr wi wr wp wi wp wn wp wi wi wp wq wi wr wi imim2 mp
    mp wr wp wi wp wn wp wi wi wr wp wi wp wi wi wp wq wi wr wi wr wp wi wp wn wp wi wi wi wp wq wi wr wi wr wp wi wp wi wi wi wp wn wp wi wp wi
    wr wp wi wp wn wp wi wi wr wp wi wp wi wi wp pm2.18 wp wn wp wi wp wr wp wi imim2 mp wr wp wi wp wn wp wi wi wr wp wi wp wi wp wq wi wr wi
    imim2 mp mp $.
simplim $p |- ( -. ( p -> q ) -> p ) $=
  wp wn wp wq wi wi wp wq wi wn wp wi wp wq pm2.21 wp wp wq wi con1 mp $.
simprim $p |- ( -. ( p -> q ) -> -. q ) $=
  wq wp wq wi wi wp wq wi wn wq wn wi wq wp ax-1 wq wp wq wi con3 mp $.
simpr $p |- ( -. ( p -> -. q ) -> q ) $=
  wq wn wp wq wn wi wi wp wq wn wi wn wq wi wq wn wp ax-1 wq wp wq wn wi con1 mp $.
pm3.2im $p |- ( p -> ( q -> -. ( p -> -. q ) ) ) $=
  wp wp wq wn wi wq wn wi wi wp wq wp wq wn wi wn wi wi wp wq wn pm2.27 wp wq wn wi wq wn wi wq wp wq wn wi wn wi wi wp wp wq wn wi wq wn wi
    wi wp wq wp wq wn wi wn wi wi wi wp wq wn wi wq con2 wp wq wn wi wq wn wi wq wp wq wn wi wn wi wp imim2 mp mp $.
impt $p |- ( ( p -> ( q -> r ) ) -> ( -. ( p -> -. q ) -> r ) ) $=
  wp wq wn wi wn wq wi wp wq wr wi wi wp wq wn wi wn wr wi wi wp wq simpr wp wq wr wi wi wp wq wn wi wn wq wi wp wq wn wi wn wr wi wi wi wp wq
    wn wi wn wq wi wp wq wr wi wi wp wq wn wi wn wr wi wi wi wp wq wr wi wi wp wq wn wi wn wq wr wi wi wi wp wq wr wi wi wp wq wn wi wn wq wi wp
    wq wn wi wn wr wi wi wi wp wq wn wi wn wp wi wp wq wr wi wi wp wq wn wi wn wq wr wi wi wi wp wq wn simplim wp wq wr wi wi wp wq wn wi wn wp
    wi wp wq wn wi wn wq wr wi wi wi wi wp wq wn wi wn wp wi wp wq wr wi wi wp wq wn wi wn wq wr wi wi wi wi wp wq wr wi wp wq wn wi wn imim2 wp
    wq wr wi wi wp wq wn wi wn wp wi wp wq wn wi wn wq wr wi wi com12 mp mp wp wq wn wi wn wq wr wi wi wp wq wn wi wn wq wi wp wq wn wi wn wr wi
    wi wi wp wq wr wi wi wp wq wn wi wn wq wr wi wi wi wp wq wr wi wi wp wq wn wi wn wq wi wp wq wn wi wn wr wi wi wi wi wp wq wn wi wn wq wr
    ax-2 wp wq wn wi wn wq wr wi wi wp wq wn wi wn wq wi wp wq wn wi wn wr wi wi wp wq wr wi wi imim2 mp mp wp wq wr wi wi wp wq wn wi wn wq wi
    wp wq wn wi wn wr wi com12 mp mp $.
expt $p |- ( ( -. ( p -> -. q ) -> r ) -> ( p -> ( q -> r ) ) ) $=
  wp wq wp wq wn wi wn wi wi wp wq wn wi wn wr wi wp wq wr wi wi wi wp wq pm3.2im wp wq wn wi wn wr wi wp wq wp wq wn wi wn wi wi wp wq wr wi
    wi wi wi wp wq wp wq wn wi wn wi wi wp wq wn wi wn wr wi wp wq wr wi wi wi wi wp wq wn wi wn wr wi wq wp wq wn wi wn wi wq wr wi wi wi wp wq
    wn wi wn wr wi wp wq wp wq wn wi wn wi wi wp wq wr wi wi wi wi wp wq wn wi wn wr wq imim2 wq wp wq wn wi wn wi wq wr wi wi wp wq wp wq wn wi
    wn wi wi wp wq wr wi wi wi wi wp wq wn wi wn wr wi wq wp wq wn wi wn wi wq wr wi wi wi wp wq wn wi wn wr wi wp wq wp wq wn wi wn wi wi wp wq
    wr wi wi wi wi wi wq wp wq wn wi wn wi wq wr wi wp imim2 wq wp wq wn wi wn wi wq wr wi wi wp wq wp wq wn wi wn wi wi wp wq wr wi wi wi wp wq
    wn wi wn wr wi imim2 mp mp wp wq wn wi wn wr wi wp wq wp wq wn wi wn wi wi wp wq wr wi wi com12 mp mp $.
jc $p |- ( ( p -> q ) -> ( ( p -> r ) -> ( p -> -. ( q -> -. r ) ) ) ) $=
  wp wq wi wp wr wq wr wn wi wn wi wi wi wp wq wi wp wr wi wp wq wr wn wi wn wi wi wi wq wr wq wr wn wi wn wi wi wp wq wi wp wr wq wr wn wi wn
    wi wi wi wq wr pm3.2im wq wr wq wr wn wi wn wi wp imim2 mp wp wr wq wr wn wi wn wi wi wp wr wi wp wq wr wn wi wn wi wi wi wp wq wi wp wr wq
    wr wn wi wn wi wi wi wp wq wi wp wr wi wp wq wr wn wi wn wi wi wi wi wp wr wq wr wn wi wn ax-2 wp wr wq wr wn wi wn wi wi wp wr wi wp wq wr
    wn wi wn wi wi wp wq wi imim2 mp mp $.
ja $p |- ( ( -. p -> q ) -> ( ( r -> q ) -> ( ( p -> r ) -> q ) ) ) $=
  wr wq wi wp wr wi wp wq wi wi wi wp wn wq wi wr wq wi wp wr wi wq wi wi wi wr wq wp imim2 wp wn wq wi wr wq wi wp wr wi wp wq wi wi wi wr wq
    wi wp wr wi wq wi wi wi wi wr wq wi wp wr wi wp wq wi wi wi wp wn wq wi wr wq wi wp wr wi wq wi wi wi wi wp wn wq wi wp wr wi wp wq wi wi wp
    wr wi wq wi wi wi wp wn wq wi wr wq wi wp wr wi wp wq wi wi wi wr wq wi wp wr wi wq wi wi wi wi wp wn wq wi wp wq wi wq wi wi wp wn wq wi wp
    wr wi wp wq wi wi wp wr wi wq wi wi wi wp wq pm2.6 wp wq wi wq wi wp wr wi wp wq wi wi wp wr wi wq wi wi wi wp wn wq wi wp wq wi wq wi wi wp
    wn wq wi wp wr wi wp wq wi wi wp wr wi wq wi wi wi wi wp wq wi wq wp wr wi imim2 wp wq wi wq wi wp wr wi wp wq wi wi wp wr wi wq wi wi wp wn
    wq wi imim2 mp mp wp wr wi wp wq wi wi wp wr wi wq wi wi wr wq wi wp wr wi wp wq wi wi wi wr wq wi wp wr wi wq wi wi wi wi wp wn wq wi wp wr
    wi wp wq wi wi wp wr wi wq wi wi wi wp wn wq wi wr wq wi wp wr wi wp wq wi wi wi wr wq wi wp wr wi wq wi wi wi wi wi wp wr wi wp wq wi wi wp
    wr wi wq wi wr wq wi imim2 wp wr wi wp wq wi wi wp wr wi wq wi wi wr wq wi wp wr wi wp wq wi wi wi wr wq wi wp wr wi wq wi wi wi wp wn wq wi
    imim2 mp mp wp wn wq wi wr wq wi wp wr wi wp wq wi wi wi wr wq wi wp wr wi wq wi wi com12 mp mp $.
jao $p |- ( ( p -> q ) -> ( ( r -> q ) -> ( ( -. p -> r ) -> q ) ) ) $=
  wr wq wi wp wn wr wi wp wn wq wi wi wi wp wq wi wr wq wi wp wn wr wi wq wi wi wi wr wq wp wn imim2 wp wq wi wr wq wi wp wn wr wi wp wn wq wi
    wi wi wr wq wi wp wn wr wi wq wi wi wi wi wr wq wi wp wn wr wi wp wn wq wi wi wi wp wq wi wr wq wi wp wn wr wi wq wi wi wi wi wp wq wi wp wn
    wr wi wp wn wq wi wi wp wn wr wi wq wi wi wi wp wq wi wr wq wi wp wn wr wi wp wn wq wi wi wi wr wq wi wp wn wr wi wq wi wi wi wi wp wq wi wp
    wn wq wi wq wi wi wp wq wi wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi wi wp wq pm2.61 wp wn wq wi wq wi wp wn wr wi wp wn wq wi wi wp
    wn wr wi wq wi wi wi wp wq wi wp wn wq wi wq wi wi wp wq wi wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi wi wi wp wn wq wi wq wp wn wr wi
    imim2 wp wn wq wi wq wi wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi wp wq wi imim2 mp mp wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi
    wr wq wi wp wn wr wi wp wn wq wi wi wi wr wq wi wp wn wr wi wq wi wi wi wi wp wq wi wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi wi wp wq
    wi wr wq wi wp wn wr wi wp wn wq wi wi wi wr wq wi wp wn wr wi wq wi wi wi wi wi wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wr wq wi imim2
    wp wn wr wi wp wn wq wi wi wp wn wr wi wq wi wi wr wq wi wp wn wr wi wp wn wq wi wi wi wr wq wi wp wn wr wi wq wi wi wi wp wq wi imim2 mp mp
    wp wq wi wr wq wi wp wn wr wi wp wn wq wi wi wi wr wq wi wp wn wr wi wq wi wi com12 mp mp $.
mth8 $p |- ( p -> ( -. q -> -. ( p -> q ) ) ) $=
  wp wp wq wi wq wi wi wp wq wn wp wq wi wn wi wi wp wq pm2.27 wp wq wi wq wi wq wn wp wq wi wn wi wi wp wp wq wi wq wi wi wp wq wn wp wq wi
    wn wi wi wi wp wq wi wq con3 wp wq wi wq wi wq wn wp wq wi wn wi wp imim2 mp mp $.
pm2.521 $p |- ( -. ( p -> q ) -> ( r -> p ) ) $=
  wp wq wi wn wp wi wp wq wi wn wr wp wi wi wp wq simplim wp wr wp wi wi wp wq wi wn wp wi wp wq wi wn wr wp wi wi wi wp wr ax-1 wp wr wp wi
    wp wq wi wn imim2 mp mp $.
pm2.5 $p |- ( -. ( p -> q ) -> ( -. p -> r ) ) $=
  wp wq wi wn wp wi wp wq wi wn wp wn wr wi wi wp wq simplim wp wp wn wr wi wi wp wq wi wn wp wi wp wq wi wn wp wn wr wi wi wi wp wn wp wr wi
    wi wp wp wn wr wi wi wp wr pm2.21 wp wn wp wr com12 mp wp wp wn wr wi wp wq wi wn imim2 mp mp $.
pm2.51 $p |- ( -. ( p -> q ) -> ( r -> -. q ) ) $=
  wp wq wi wn wq wn wi wp wq wi wn wr wq wn wi wi wp wq simprim wq wn wr wq wn wi wi wp wq wi wn wq wn wi wp wq wi wn wr wq wn wi wi wi wq wn
    wr ax-1 wq wn wr wq wn wi wp wq wi wn imim2 mp mp $.
con34 $p |- ( ( p -> ( q -> r ) ) -> ( p -> ( -. r -> -. q ) ) ) $=
  wq wr wi wr wn wq wn wi wi wp wq wr wi wi wp wr wn wq wn wi wi wi wq wr con3 wq wr wi wr wn wq wn wi wp imim2 mp $.
con23 $p |- ( ( p -> ( q -> -. r ) ) -> ( p -> ( r -> -. q ) ) ) $=
  wq wr wn wi wr wq wn wi wi wp wq wr wn wi wi wp wr wq wn wi wi wi wq wr con2 wq wr wn wi wr wq wn wi wp imim2 mp $.
con13 $p |- ( ( p -> ( -. q -> r ) ) -> ( p -> ( -. r -> q ) ) ) $=
  wq wn wr wi wr wn wq wi wi wp wq wn wr wi wi wp wr wn wq wi wi wi wq wr con1 wq wn wr wi wr wn wq wi wp imim2 mp $.
nsyl $p |- ( ( p -> -. q ) -> ( ( r -> q ) -> ( p -> -. r ) ) ) $=
  wr wq wi wp wq wn wi wp wr wn wi wi wi wp wq wn wi wr wq wi wp wr wn wi wi wi wr wq wi wq wn wr wn wi wi wr wq wi wp wq wn wi wp wr wn wi wi
    wi wr wq con3 wq wn wr wn wi wp wq wn wi wp wr wn wi wi wi wr wq wi wq wn wr wn wi wi wr wq wi wp wq wn wi wp wr wn wi wi wi wi wq wn wr wn
    wp imim2 wq wn wr wn wi wp wq wn wi wp wr wn wi wi wr wq wi imim2 mp mp wr wq wi wp wq wn wi wp wr wn wi com12 mp $.
nsyl2 $p |- ( ( p -> -. q ) -> ( ( -. r -> q ) -> ( p -> r ) ) ) $=
  wr wn wq wi wp wq wn wi wp wr wi wi wi wp wq wn wi wr wn wq wi wp wr wi wi wi wr wn wq wi wq wn wr wi wi wr wn wq wi wp wq wn wi wp wr wi wi
    wi wr wq con1 wq wn wr wi wp wq wn wi wp wr wi wi wi wr wn wq wi wq wn wr wi wi wr wn wq wi wp wq wn wi wp wr wi wi wi wi wq wn wr wp imim2
    wq wn wr wi wp wq wn wi wp wr wi wi wr wn wq wi imim2 mp mp wr wn wq wi wp wq wn wi wp wr wi com12 mp $.
nsyl3 $p |- ( ( p -> -. q ) -> ( ( r -> q ) -> ( r -> -. p ) ) ) $=
  wp wq wn wi wq wp wn wi wi wp wq wn wi wr wq wi wr wp wn wi wi wi wp wq con2 wq wp wn wi wr wq wi wr wp wn wi wi wi wp wq wn wi wq wp wn wi
    wi wp wq wn wi wr wq wi wr wp wn wi wi wi wi wq wp wn wr imim2 wq wp wn wi wr wq wi wr wp wn wi wi wp wq wn wi imim2 mp mp $.
mt2 $p |- ( p -> ( ( q -> -. p ) -> -. q ) ) $=
  wq wp wn wi wp wq wn wi wi wp wq wp wn wi wq wn wi wi wq wp con2 wq wp wn wi wp wq wn com12 mp $.
mt3 $p |- ( -. p -> ( ( -. q -> p ) -> q ) ) $=
  wq wn wp wi wp wn wq wi wi wp wn wq wn wp wi wq wi wi wq wp con1 wq wn wp wi wp wn wq com12 mp $.
pm2.65d $p |- ( ( p -> ( q -> r ) ) -> ( ( p -> ( q -> -. r ) ) -> ( p -> -. q ) ) ) $=
  wp wq wr wi wi wp wq wr wn wi wq wn wi wi wi wp wq wr wi wi wp wq wr wn wi wi wp wq wn wi wi wi wq wr wi wq wr wn wi wq wn wi wi wp wq wr wi
    wi wp wq wr wn wi wq wn wi wi wi wq wr pm2.65 wq wr wi wq wr wn wi wq wn wi wp imim2 mp wp wq wr wn wi wq wn wi wi wp wq wr wn wi wi wp wq
    wn wi wi wi wp wq wr wi wi wp wq wr wn wi wq wn wi wi wi wp wq wr wi wi wp wq wr wn wi wi wp wq wn wi wi wi wi wp wq wr wn wi wq wn ax-2 wp
    wq wr wn wi wq wn wi wi wp wq wr wn wi wi wp wq wn wi wi wp wq wr wi wi imim2 mp mp $.
pm2.61d $p |- ( ( p -> ( q -> r ) ) -> ( ( p -> ( -. q -> r ) ) -> ( p -> r ) ) ) $=
  wp wq wr wi wi wp wq wn wr wi wr wi wi wi wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi wi wq wr wi wq wn wr wi wr wi wi wp wq wr wi wi wp wq
    wn wr wi wr wi wi wi wq wr pm2.61 wq wr wi wq wn wr wi wr wi wp imim2 mp wp wq wn wr wi wr wi wi wp wq wn wr wi wi wp wr wi wi wi wp wq wr
    wi wi wp wq wn wr wi wr wi wi wi wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi wi wi wp wq wn wr wi wr ax-2 wp wq wn wr wi wr wi wi wp wq wn
    wr wi wi wp wr wi wi wp wq wr wi wi imim2 mp mp $.
peirced $p |- ( ( p -> ( ( q -> r ) -> q ) ) -> ( p -> q ) ) $=
  wq wr wi wq wi wq wi wp wq wr wi wq wi wi wp wq wi wi wq wr peirce wq wr wi wq wi wq wp imim2 mp $.
pm2.18d $p |- ( ( p -> ( -. q -> q ) ) -> ( p -> q ) ) $=
  wq wn wq wi wq wi wp wq wn wq wi wi wp wq wi wi wq pm2.18 wq wn wq wi wq wp imim2 mp $.
pm2.38 $p |- ( ( p -> q ) -> ( ( -. p -> r ) -> ( -. q -> r ) ) ) $=
  wp wq wi wq wn wp wn wi wi wp wq wi wp wn wr wi wq wn wr wi wi wi wp wq con3 wq wn wp wn wi wp wn wr wi wq wn wr wi wi wi wp wq wi wq wn wp
    wn wi wi wp wq wi wp wn wr wi wq wn wr wi wi wi wi wp wn wr wi wq wn wp wn wi wq wn wr wi wi wi wq wn wp wn wi wp wn wr wi wq wn wr wi wi wi
    wp wn wr wq wn imim2 wp wn wr wi wq wn wp wn wi wq wn wr wi com12 mp wq wn wp wn wi wp wn wr wi wq wn wr wi wi wp wq wi imim2 mp mp $.
pm2.8 $p |- ( p -> ( ( ( q -> r ) -> ( p -> s ) ) -> ( r -> s ) ) ) $=
  wq wr wi wp ws wi wi wp wr ws wi wi wi wp wq wr wi wp ws wi wi wr ws wi wi wi wq wr wi wp ws wi wi wr wp ws wi wi wi wq wr wi wp ws wi wi wp
    wr ws wi wi wi wr wq wr wi wi wq wr wi wp ws wi wi wr wp ws wi wi wi wr wq ax-1 wq wr wi wp ws wi wi wr wq wr wi wi wr wp ws wi wi wi wi wr
    wq wr wi wi wq wr wi wp ws wi wi wr wp ws wi wi wi wi wq wr wi wp ws wi wr imim2 wq wr wi wp ws wi wi wr wq wr wi wi wr wp ws wi wi com12 mp
    mp wr wp ws wi wi wp wr ws wi wi wi wq wr wi wp ws wi wi wr wp ws wi wi wi wq wr wi wp ws wi wi wp wr ws wi wi wi wi wr wp ws com12 wr wp ws
    wi wi wp wr ws wi wi wq wr wi wp ws wi wi imim2 mp mp wq wr wi wp ws wi wi wp wr ws wi com12 mp $.
pm2.81 $p |- ( ( p -> q ) -> ( ( q -> ( r -> s ) ) -> ( ( p -> r ) -> ( p -> s ) ) ) ) $=
  wp wq wi wq wr ws wi wi wp wr ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wq wr ws wi wi wp wq wi wp wr ws wi wi wi wi
    wp wq wi wq wr ws wi wi wp wr ws wi wi wi wi wq wr ws wi wp imim2 wq wr ws wi wi wp wq wi wp wr ws wi wi com12 mp wq wr ws wi wi wp wr ws wi
    wi wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr ws wi wi wi wi wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi
    wi wi wp wr ws wi wi wp wr wi wp ws wi wi wi wq wr ws wi wi wp wr ws wi wi wi wq wr ws wi wi wp wr wi wp ws wi wi wi wi wp wr ws ax-2 wp wr
    ws wi wi wp wr wi wp ws wi wi wq wr ws wi wi imim2 mp wq wr ws wi wi wp wr ws wi wi wi wq wr ws wi wi wp wr wi wp ws wi wi wi wp wq wi imim2
    mp mp $.
pm2.82 $p |- ( ( -. p -> q ) -> ( r -> ( ( p -> s ) -> ( -. s -> q ) ) ) ) $=
  wp wn wq wi wp ws wi ws wn wq wi wi wi wp wn wq wi wr wp ws wi ws wn wq wi wi wi wi wp ws wi ws wn wp wn wi wi wp wn wq wi wp ws wi ws wn wq
    wi wi wi wp ws con3 wp wn wq wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq wi wi wi wi wp ws wi ws wn wp wn wi wi wp wn wq wi wp ws wi ws
    wn wq wi wi wi wi wp wn wq wi ws wn wp wn wi ws wn wq wi wi wi wp wn wq wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq wi wi wi wi wp wn wq
    ws wn imim2 ws wn wp wn wi ws wn wq wi wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq wi wi wi wi wp wn wq wi ws wn wp wn wi ws wn wq wi wi
    wi wp wn wq wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq wi wi wi wi wi ws wn wp wn wi ws wn wq wi wp ws wi imim2 ws wn wp wn wi ws wn wq
    wi wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq wi wi wi wp wn wq wi imim2 mp mp wp wn wq wi wp ws wi ws wn wp wn wi wi wp ws wi ws wn wq
    wi wi com12 mp mp wp ws wi ws wn wq wi wi wr wp ws wi ws wn wq wi wi wi wi wp wn wq wi wp ws wi ws wn wq wi wi wi wp wn wq wi wr wp ws wi ws
    wn wq wi wi wi wi wi wp ws wi ws wn wq wi wi wr ax-1 wp ws wi ws wn wq wi wi wr wp ws wi ws wn wq wi wi wi wp wn wq wi imim2 mp mp $.
ancom $p |- ( -. ( p -> -. q ) -> -. ( q -> -. p ) ) $=
  wq wp wn wi wp wq wn wi wi wp wq wn wi wn wq wp wn wi wn wi wq wp con2 wq wp wn wi wp wq wn wi con3 mp $.
anass $p |- ( -. ( -. ( p -> -. q ) -> -. r ) -> -. ( p -> -. -. ( q -> -. r ) ) ) $=
  wp wq wn wi wn wr wn wi wn wq wr wn wi wn wi wp wq wn wi wn wr wn wi wn wp wq wr wn wi wn wn wi wn wi wp wq wn wi wn wr wn wi wn wr wi wp wq
    wn wi wn wr wn wi wn wq wr wn wi wn wi wp wq wn wi wn wr simpr wp wq wn wi wn wr wn wi wn wr wq wr wn wi wn wi wi wp wq wn wi wn wr wn wi wn
    wr wi wp wq wn wi wn wr wn wi wn wq wr wn wi wn wi wi wp wq wn wi wn wr wn wi wn wq wi wp wq wn wi wn wr wn wi wn wr wq wr wn wi wn wi wi wp
    wq wn wi wn wr wn wi wn wp wq wn wi wn wi wp wq wn wi wn wr wn wi wn wq wi wp wq wn wi wn wr wn simplim wp wq wn wi wn wq wi wp wq wn wi wn
    wr wn wi wn wp wq wn wi wn wi wp wq wn wi wn wr wn wi wn wq wi wi wp wq simpr wp wq wn wi wn wq wp wq wn wi wn wr wn wi wn imim2 mp mp wq wr
    wq wr wn wi wn wi wi wp wq wn wi wn wr wn wi wn wq wi wp wq wn wi wn wr wn wi wn wr wq wr wn wi wn wi wi wi wq wr pm3.2im wq wr wq wr wn wi
    wn wi wp wq wn wi wn wr wn wi wn imim2 mp mp wp wq wn wi wn wr wn wi wn wr wq wr wn wi wn ax-2 mp mp wp wq wn wi wn wr wn wi wn wq wr wn wi
    wn wp wq wr wn wi wn wn wi wn wi wi wp wq wn wi wn wr wn wi wn wq wr wn wi wn wi wp wq wn wi wn wr wn wi wn wp wq wr wn wi wn wn wi wn wi wi
    wp wq wn wi wn wr wn wi wn wp wi wp wq wn wi wn wr wn wi wn wq wr wn wi wn wp wq wr wn wi wn wn wi wn wi wi wp wq wn wi wn wr wn wi wn wp wq
    wn wi wn wi wp wq wn wi wn wr wn wi wn wp wi wp wq wn wi wn wr wn simplim wp wq wn wi wn wp wi wp wq wn wi wn wr wn wi wn wp wq wn wi wn wi
    wp wq wn wi wn wr wn wi wn wp wi wi wp wq wn simplim wp wq wn wi wn wp wp wq wn wi wn wr wn wi wn imim2 mp mp wp wq wr wn wi wn wp wq wr wn
    wi wn wn wi wn wi wi wp wq wn wi wn wr wn wi wn wp wi wp wq wn wi wn wr wn wi wn wq wr wn wi wn wp wq wr wn wi wn wn wi wn wi wi wi wp wq wr
    wn wi wn pm3.2im wp wq wr wn wi wn wp wq wr wn wi wn wn wi wn wi wp wq wn wi wn wr wn wi wn imim2 mp mp wp wq wn wi wn wr wn wi wn wq wr wn
    wi wn wp wq wr wn wi wn wn wi wn ax-2 mp mp $.
andir $p |- ( ( p -> q ) -> ( -. ( p -> -. r ) -> -. ( q -> -. r ) ) ) $=
  wp wr wn wi wn wr wi wp wq wi wp wr wn wi wn wq wr wn wi wn wi wi wp wr simpr wp wq wi wp wr wn wi wn wr wi wp wr wn wi wn wq wr wn wi wn wi
    wi wi wp wr wn wi wn wr wi wp wq wi wp wr wn wi wn wq wr wn wi wn wi wi wi wp wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wp wq wi wp wr
    wn wi wn wr wi wp wr wn wi wn wq wr wn wi wn wi wi wi wp wq wi wp wr wn wi wn wq wi wi wp wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wp
    wr wn wi wn wp wi wp wq wi wp wr wn wi wn wq wi wi wp wr wn simplim wp wq wi wp wr wn wi wn wp wi wp wr wn wi wn wq wi wi wi wp wr wn wi wn
    wp wi wp wq wi wp wr wn wi wn wq wi wi wi wp wq wp wr wn wi wn imim2 wp wq wi wp wr wn wi wn wp wi wp wr wn wi wn wq wi com12 mp mp wp wr wn
    wi wn wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wp wq wi wp wr wn wi wn wq wi wi wp wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wi
    wq wr wq wr wn wi wn wi wi wp wr wn wi wn wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wq wr pm3.2im wq wr wq wr wn wi wn wi wp wr wn wi
    wn imim2 mp wp wr wn wi wn wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wp wq wi imim2 mp mp wp wr wn wi wn wr wq wr wn wi wn wi wi wp wr wn
    wi wn wr wi wp wr wn wi wn wq wr wn wi wn wi wi wi wp wq wi wp wr wn wi wn wr wq wr wn wi wn wi wi wi wp wq wi wp wr wn wi wn wr wi wp wr wn
    wi wn wq wr wn wi wn wi wi wi wi wp wr wn wi wn wr wq wr wn wi wn ax-2 wp wr wn wi wn wr wq wr wn wi wn wi wi wp wr wn wi wn wr wi wp wr wn
    wi wn wq wr wn wi wn wi wi wp wq wi imim2 mp mp wp wq wi wp wr wn wi wn wr wi wp wr wn wi wn wq wr wn wi wn wi com12 mp mp $.
anim12 $p |- ( ( p -> q ) -> ( ( r -> s ) -> ( -. ( p -> -. r ) -> -. ( q -> -. s ) ) ) ) $=
  wr ws wi wp wr wn wi wn ws wi wi wp wq wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wr wn wi wn wr wi wr ws wi wp wr wn wi wn ws wi
    wi wp wr simpr wr ws wi wp wr wn wi wn wr wi wp wr wn wi wn ws wi wi wi wp wr wn wi wn wr wi wr ws wi wp wr wn wi wn ws wi wi wi wr ws wp wr
    wn wi wn imim2 wr ws wi wp wr wn wi wn wr wi wp wr wn wi wn ws wi com12 mp mp wp wq wi wr ws wi wp wr wn wi wn ws wi wi wr ws wi wp wr wn wi
    wn wq ws wn wi wn wi wi wi wi wr ws wi wp wr wn wi wn ws wi wi wp wq wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wi wp wq wi wp wr wn
    wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wq wi wr ws wi wp wr wn wi wn ws wi wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi
    wi wp wq wi wp wr wn wi wn ws wq ws wn wi wn wi wi wi wp wq wi wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wq wi wp wr wn
    wi wn wq wi wi wp wq wi wp wr wn wi wn ws wq ws wn wi wn wi wi wi wp wr wn wi wn wp wi wp wq wi wp wr wn wi wn wq wi wi wp wr wn simplim wp
    wq wi wp wr wn wi wn wp wi wp wr wn wi wn wq wi wi wi wp wr wn wi wn wp wi wp wq wi wp wr wn wi wn wq wi wi wi wp wq wp wr wn wi wn imim2 wp
    wq wi wp wr wn wi wn wp wi wp wr wn wi wn wq wi com12 mp mp wp wr wn wi wn wq wi wp wr wn wi wn ws wq ws wn wi wn wi wi wi wp wq wi wp wr wn
    wi wn wq wi wi wp wq wi wp wr wn wi wn ws wq ws wn wi wn wi wi wi wi wq ws wq ws wn wi wn wi wi wp wr wn wi wn wq wi wp wr wn wi wn ws wq ws
    wn wi wn wi wi wi wq ws pm3.2im wq ws wq ws wn wi wn wi wp wr wn wi wn imim2 mp wp wr wn wi wn wq wi wp wr wn wi wn ws wq ws wn wi wn wi wi
    wp wq wi imim2 mp mp wp wr wn wi wn ws wq ws wn wi wn wi wi wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wq wi wp wr wn wi
    wn ws wq ws wn wi wn wi wi wi wp wq wi wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wi wp wr wn wi wn ws wq ws wn wi wn ax-2
    wp wr wn wi wn ws wq ws wn wi wn wi wi wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wp wq wi imim2 mp mp wp wr wn wi wn ws wi wp
    wr wn wi wn wq ws wn wi wn wi wi wr ws wi wp wr wn wi wn ws wi wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wi wp wq wi wp wr wn wi wn
    ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wq wi wr ws wi wp wr wn wi wn ws wi wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wi wi
    wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wr ws wi imim2 wp wr wn wi wn ws wi wp wr wn wi wn wq ws wn wi wn wi wi wr ws wi wp wr
    wn wi wn ws wi wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi wi wp wq wi imim2 mp mp wp wq wi wr ws wi wp wr wn wi wn ws wi wi wr ws wi wp
    wr wn wi wn wq ws wn wi wn wi wi com12 mp mp $.
anidm2 $p |- ( p -> -. ( p -> -. p ) ) $=
  wp wp wi wp wp wp wn wi wn wi wp id wp wp wp wp wn wi wn wi wi wp wp wi wp wp wp wn wi wn wi wi wp wp pm3.2im wp wp wp wp wn wi wn ax-2 mp
    mp $.
dilemma $p |- ( ( p -> q ) -> ( ( -. p -> r ) -> ( ( q -> s ) -> ( ( r -> s ) -> s ) ) ) ) $=
  wp wn wr wi wr ws wi wp wn ws wi wi wi wp wq wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi wi wr ws wi wp wn wr wi wp wn ws wi wi wi wp wn wr
    wi wr ws wi wp wn ws wi wi wi wr ws wp wn imim2 wr ws wi wp wn wr wi wp wn ws wi com12 mp wp wq wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp
    wn wr wi wq ws wi wr ws wi ws wi wi wi wi wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp wq wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi wi wi
    wp wq wi wr ws wi wp wn ws wi wi wq ws wi wr ws wi ws wi wi wi wi wp wq wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp wn wr wi wq ws wi wr ws
    wi ws wi wi wi wi wi wp wq wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wi wi wp wq wi wr ws wi wp wn ws wi wi wq ws wi wr ws wi ws
    wi wi wi wi wp wq wi wq ws wi wp wn ws wi ws wi wi wi wp wq wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wi wi wp wq wi wq ws wi wp
    ws wi wi wi wp wq wi wq ws wi wp wn ws wi ws wi wi wi wq ws wi wp wq wi wp ws wi wi wi wp wq wi wq ws wi wp ws wi wi wi wq ws wp imim2 wq ws
    wi wp wq wi wp ws wi com12 mp wq ws wi wp ws wi wi wq ws wi wp wn ws wi ws wi wi wi wp wq wi wq ws wi wp ws wi wi wi wp wq wi wq ws wi wp wn
    ws wi ws wi wi wi wi wp ws wi wp wn ws wi ws wi wi wq ws wi wp ws wi wi wq ws wi wp wn ws wi ws wi wi wi wp ws pm2.61 wp ws wi wp wn ws wi
    ws wi wq ws wi imim2 mp wq ws wi wp ws wi wi wq ws wi wp wn ws wi ws wi wi wp wq wi imim2 mp mp wq ws wi wp wn ws wi ws wi wi wq ws wi wr ws
    wi wp wn ws wi wi wr ws wi ws wi wi wi wi wp wq wi wq ws wi wp wn ws wi ws wi wi wi wp wq wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi
    wi wi wi wi wp wn ws wi ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wi wq ws wi wp wn ws wi ws wi wi wq ws wi wr ws wi wp wn ws wi wi wr
    ws wi ws wi wi wi wi wp wn ws wi ws wr ws wi imim2 wp wn ws wi ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wq ws wi imim2 mp wq ws wi wp
    wn ws wi ws wi wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wi wp wq wi imim2 mp mp wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi
    wi wi wr ws wi wp wn ws wi wi wq ws wi wr ws wi ws wi wi wi wi wp wq wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi wi wi wi wp wq wi wr
    ws wi wp wn ws wi wi wq ws wi wr ws wi ws wi wi wi wi wi wq ws wi wr ws wi wp wn ws wi wi wr ws wi ws wi com12 wq ws wi wr ws wi wp wn ws wi
    wi wr ws wi ws wi wi wi wr ws wi wp wn ws wi wi wq ws wi wr ws wi ws wi wi wi wp wq wi imim2 mp mp wr ws wi wp wn ws wi wi wq ws wi wr ws wi
    ws wi wi wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi wi wi wp wq wi wr ws wi wp wn ws wi wi wq ws wi
    wr ws wi ws wi wi wi wi wp wq wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi wi wi wi wr ws wi wp wn ws
    wi wi wq ws wi wr ws wi ws wi wi wp wn wr wi imim2 wr ws wi wp wn ws wi wi wq ws wi wr ws wi ws wi wi wi wp wn wr wi wr ws wi wp wn ws wi wi
    wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi wi wp wq wi imim2 mp mp wp wq wi wp wn wr wi wr ws wi wp wn ws wi wi wi wp wn wr wi wq ws wi wr
    ws wi ws wi wi wi com12 mp mp $.
meredith $p |- ( -. p -> ( ( q -> p ) -> ( q -> r ) ) ) $=
  wq wp wi wp wn wq wr wi wi wi wp wn wq wp wi wq wr wi wi wi wq wp wi wq wp wn wr wi wi wi wq wp wi wp wn wq wr wi wi wi wq wp wi wq wr wn wp
    wn wn wi wi wi wq wp wi wq wp wn wr wi wi wi wq wp wi wq wp wn wn wi wi wq wp wi wq wr wn wp wn wn wi wi wi wp wp wn wn wi wq wp wi wq wp wn
    wn wi wi wp notnot wp wp wn wn wq imim2 mp wq wp wn wn wi wq wr wn wp wn wn wi wi wi wq wp wi wq wp wn wn wi wi wq wp wi wq wr wn wp wn wn
    wi wi wi wi wp wn wn wr wn wp wn wn wi wi wq wp wn wn wi wq wr wn wp wn wn wi wi wi wp wn wn wr wn ax-1 wp wn wn wr wn wp wn wn wi wq imim2
    mp wq wp wn wn wi wq wr wn wp wn wn wi wi wq wp wi imim2 mp mp wq wr wn wp wn wn wi wi wq wp wn wr wi wi wi wq wp wi wq wr wn wp wn wn wi wi
    wi wq wp wi wq wp wn wr wi wi wi wi wr wn wp wn wn wi wp wn wr wi wi wq wr wn wp wn wn wi wi wq wp wn wr wi wi wi wr wp wn ax-3 wr wn wp wn
    wn wi wp wn wr wi wq imim2 mp wq wr wn wp wn wn wi wi wq wp wn wr wi wi wq wp wi imim2 mp mp wq wp wn wr wi wi wp wn wq wr wi wi wi wq wp wi
    wq wp wn wr wi wi wi wq wp wi wp wn wq wr wi wi wi wi wq wp wn wr com12 wq wp wn wr wi wi wp wn wq wr wi wi wq wp wi imim2 mp mp wq wp wi wp
    wn wq wr wi com12 mp $.
tarski2 $p |- ( ( p -> q ) -> ( ( ( p -> r ) -> q ) -> q ) ) $=
  wp wr wi wq wi wp wn wq wi wi wp wq wi wp wr wi wq wi wq wi wi wp wn wp wr wi wi wp wr wi wq wi wp wn wq wi wi wp wr pm2.21 wp wr wi wq wi
    wp wn wp wr wi wi wp wn wq wi wi wi wp wn wp wr wi wi wp wr wi wq wi wp wn wq wi wi wi wp wr wi wq wp wn imim2 wp wr wi wq wi wp wn wp wr wi
    wi wp wn wq wi com12 mp mp wp wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi wq wi wq wi wi wi wp wr wi wq wi wp wn wq wi wi wp wq wi wp wr wi
    wq wi wq wi wi wi wp wq wi wp wn wq wi wq wi wi wp wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi wq wi wq wi wi wi wp wq pm2.61 wp wn wq wi
    wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi wq wi wq wi wi wi wp wq wi wp wn wq wi wq wi wi wp wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi
    wq wi wq wi wi wi wi wp wn wq wi wq wp wr wi wq wi imim2 wp wn wq wi wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi wq wi wq wi wi wp wq wi
    imim2 mp mp wp wq wi wp wr wi wq wi wp wn wq wi wi wp wr wi wq wi wq wi com12 mp mp $.
clavius $p |- ( ( -. p -> ( q -> p ) ) -> ( q -> p ) ) $=
  wp wn wq wp wi wi wq wp wn wp wi wi wi wp wn wq wp wi wi wq wp wi wi wp wn wq wp com12 wq wp wn wp wi wi wq wp wi wi wp wn wq wp wi wi wq wp
    wn wp wi wi wi wp wn wq wp wi wi wq wp wi wi wi wp wn wp wi wp wi wq wp wn wp wi wi wq wp wi wi wp pm2.18 wp wn wp wi wp wq imim2 mp wq wp
    wn wp wi wi wq wp wi wp wn wq wp wi wi imim2 mp mp $.
frege2 $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( ( p -> r ) -> ( p -> ( q -> s ) ) ) ) $=
  wp wq wr ws wi wi wi wp wr wq ws wi wi wi wi wp wq wr ws wi wi wi wp wr wi wp wq ws wi wi wi wi wq wr ws wi wi wr wq ws wi wi wi wp wq wr ws
    wi wi wi wp wr wq ws wi wi wi wi wq wr ws com12 wq wr ws wi wi wr wq ws wi wi wp imim2 mp wp wr wq ws wi wi wi wp wr wi wp wq ws wi wi wi wi
    wp wq wr ws wi wi wi wp wr wq ws wi wi wi wi wp wq wr ws wi wi wi wp wr wi wp wq ws wi wi wi wi wi wp wr wq ws wi ax-2 wp wr wq ws wi wi wi
    wp wr wi wp wq ws wi wi wi wp wq wr ws wi wi wi imim2 mp mp $.
twice $p |- ( ( p -> p ) -> ( p -> p ) ) $=
  wp wp wi wp wp wi wi wp wp wi wp wp wi wi wp wp wi id wp wp wi wp wp wi wp wp wi wi wi wp wp wi wp wp wi wi wp wp wi wp wp wi wi wi wp wp wp
    imim2 wp wp wi wp wp wi wp wp wi ax-2 mp mp $.
church $p |- ( ( p -> ( q -> r ) ) -> ( ( r -> ( q -> s ) ) -> ( p -> ( q -> s ) ) ) ) $=
  wq wq wi wp wq wr wi wi wr wq ws wi wi wp wq ws wi wi wi wi wq id wp wq wr wi wi wq wq wi wr wq ws wi wi wp wq ws wi wi wi wi wi wq wq wi wp
    wq wr wi wi wr wq ws wi wi wp wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wi wp wq wr wi wi wq wq wi wr
    wq ws wi wi wp wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wq wq wi wp
    wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wi
    wr wq ws wi wi wp wq wr wi wi wp wq wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq wq ws wi wi wi wi wi wr wq ws wi wi wq wr wi wq
    wq ws wi wi wi wi wr wq ws wi wi wp wq wr wi wi wp wq wq ws wi wi wi wi wi wr wq ws wi wq imim2 wq wr wi wq wq ws wi wi wi wp wq wr wi wi wp
    wq wq ws wi wi wi wi wi wr wq ws wi wi wq wr wi wq wq ws wi wi wi wi wr wq ws wi wi wp wq wr wi wi wp wq wq ws wi wi wi wi wi wi wq wr wi wq
    wq ws wi wi wp imim2 wq wr wi wq wq ws wi wi wi wp wq wr wi wi wp wq wq ws wi wi wi wi wr wq ws wi wi imim2 mp mp wr wq ws wi wi wp wq wr wi
    wi wp wq wq ws wi wi wi com12 mp wr wq ws wi wi wp wq wq ws wi wi wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wi wp wq wr wi wi wr wq
    ws wi wi wp wq wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wi wi wp wq wq ws wi wi wi wp wq wq wi wq ws
    wi wi wi wi wr wq ws wi wi wp wq wq ws wi wi wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wi wq wq ws wi wi wq wq wi wq ws wi wi wi wp
    wq wq ws wi wi wi wp wq wq wi wq ws wi wi wi wi wq wq ws ax-2 wq wq ws wi wi wq wq wi wq ws wi wi wp imim2 mp wp wq wq ws wi wi wi wp wq wq
    wi wq ws wi wi wi wr wq ws wi wi imim2 mp wr wq ws wi wi wp wq wq ws wi wi wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wp wq wr wi wi
    imim2 mp mp wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wp wq
    wq wi wq ws wi wi wi wi wi wp wq wr wi wi wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wi wi wp wq wq wi wq ws wi wi wi wq wq wi wp wq ws wi
    wi wi wi wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wi wp wq wq wi wq ws wi com12 wp wq wq wi
    wq ws wi wi wi wq wq wi wp wq ws wi wi wi wr wq ws wi wi imim2 mp wr wq ws wi wi wp wq wq wi wq ws wi wi wi wi wr wq ws wi wi wq wq wi wp wq
    ws wi wi wi wi wp wq wr wi wi imim2 mp mp wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wq wq wi wr wq ws wi wi wp wq ws wi wi wi wi wi wp wq
    wr wi wi wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wi wp wq wr wi wi wq wq wi wr wq ws wi wi wp wq ws wi wi wi wi wi wi wr wq ws wi wi wq
    wq wi wp wq ws wi wi com12 wr wq ws wi wi wq wq wi wp wq ws wi wi wi wi wq wq wi wr wq ws wi wi wp wq ws wi wi wi wi wp wq wr wi wi imim2 mp
    mp wp wq wr wi wi wq wq wi wr wq ws wi wi wp wq ws wi wi wi com12 mp mp $.
share $p |- ( ( p -> ( q -> r ) ) -> ( ( p -> ( s -> q ) ) -> ( p -> ( s -> r ) ) ) ) $=
  wp wq wr wi wi wp ws wq wi ws wr wi wi wi wi wp wq wr wi wi wp ws wq wi wi wp ws wr wi wi wi wi wq wr wi ws wq wi ws wr wi wi wi wp wq wr wi
    wi wp ws wq wi ws wr wi wi wi wi wq wr ws imim2 wq wr wi ws wq wi ws wr wi wi wp imim2 mp wp ws wq wi ws wr wi wi wi wp ws wq wi wi wp ws wr
    wi wi wi wi wp wq wr wi wi wp ws wq wi ws wr wi wi wi wi wp wq wr wi wi wp ws wq wi wi wp ws wr wi wi wi wi wi wp ws wq wi ws wr wi ax-2 wp
    ws wq wi ws wr wi wi wi wp ws wq wi wi wp ws wr wi wi wi wp wq wr wi wi imim2 mp mp $.
dni $p |- ( p -> ( ( -. -. p -> q ) -> q ) ) $=
  wp wp wn wn wi wp wp wn wn wq wi wq wi wi wp notnot wp wn wn wp wn wn wq wi wq wi wi wp wp wn wn wi wp wp wn wn wq wi wq wi wi wi wp wn wn
    wq wi wp wn wn wq wi wi wp wn wn wp wn wn wq wi wq wi wi wp wn wn wq wi id wp wn wn wq wi wp wn wn wq com12 mp wp wn wn wp wn wn wq wi wq wi
    wp imim2 mp mp $.
dne $p |- ( ( p -> q ) -> ( -. -. p -> q ) ) $=
  wp wn wn wp wi wp wq wi wp wn wn wq wi wi wp notnotr wp wq wi wp wn wn wp wi wp wn wn wq wi wi wi wp wn wn wp wi wp wq wi wp wn wn wq wi wi
    wi wp wq wp wn wn imim2 wp wq wi wp wn wn wp wi wp wn wn wq wi com12 mp mp $.
dnid $p |- ( ( p -> q ) -> ( p -> -. -. q ) ) $=
  wq wq wn wn wi wp wq wi wp wq wn wn wi wi wq notnot wq wq wn wn wp imim2 mp $.
dned $p |- ( ( p -> -. -. q ) -> ( p -> q ) ) $=
  wq wn wn wq wi wp wq wn wn wi wp wq wi wi wq notnotr wq wn wn wq wp imim2 mp $.
notnotnot $p |- ( -. -. -. p -> -. p ) $=
  wp wp wn wn wi wp wn wn wn wp wn wi wp notnot wp wp wn wn con3 mp $.
contra $p |- ( p -> ( q -> q ) ) $=
  wq wq wi wp wq wq wi wi wq id wq wq wi wp ax-1 mp $.
${
  imim2.i1 $e |- ( p -> q ) $.
  imim2.i $p |- ( ( r -> p ) -> ( r -> q ) ) $=
    wp wq wi wr wp wi wr wq wi wi imim2.i1 wp wq wr imim2 mp $.
$}
${
  imim2.j1 $e |- ( p -> q ) $.
  imim2.j2 $e |- ( r -> p ) $.
  imim2.j $p |- ( r -> q ) $=
    wr wp wi wr wq wi imim2.j2 wp wq wi wr wp wi wr wq wi wi imim2.j1 wp wq wr imim2 mp mp $.
$}
${
  imim2.d1 $e |- ( p -> ( q -> r ) ) $.
  imim2.d $p |- ( p -> ( ( s -> q ) -> ( s -> r ) ) ) $=
    wp wq wr wi wi wp ws wq wi ws wr wi wi wi imim2.d1 wq wr wi ws wq wi ws wr wi wi wi wp wq wr wi wi wp ws wq wi ws wr wi wi wi wi wq wr ws
      imim2 wq wr wi ws wq wi ws wr wi wi wp imim2 mp mp $.
$}
${
  com12.i1 $e |- ( p -> ( q -> r ) ) $.
  com12.i $p |- ( q -> ( p -> r ) ) $=
    wp wq wr wi wi wq wp wr wi wi com12.i1 wp wq wr com12 mp $.
$}
${
  com12.j1 $e |- ( p -> ( q -> r ) ) $.
  com12.j2 $e |- q $.
  com12.j $p |- ( p -> r ) $=
    wq wp wr wi com12.j2 wp wq wr wi wi wq wp wr wi wi com12.j1 wp wq wr com12 mp mp $.
$}
${
  com12.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com12.d $p |- ( p -> ( r -> ( q -> s ) ) ) $=
    wp wq wr ws wi wi wi wp wr wq ws wi wi wi com12.d1 wq wr ws wi wi wr wq ws wi wi wi wp wq wr ws wi wi wi wp wr wq ws wi wi wi wi wq wr ws
      com12 wq wr ws wi wi wr wq ws wi wi wp imim2 mp mp $.
$}
${
  imim1.i1 $e |- ( p -> q ) $.
  imim1.i $p |- ( ( q -> r ) -> ( p -> r ) ) $=
    wp wq wi wq wr wi wp wr wi wi imim1.i1 wp wq wr imim1 mp $.
$}
${
  imim1.j1 $e |- ( p -> q ) $.
  imim1.j2 $e |- ( q -> r ) $.
  imim1.j $p |- ( p -> r ) $=
    wq wr wi wp wr wi imim1.j2 wp wq wi wq wr wi wp wr wi wi imim1.j1 wp wq wr imim1 mp mp $.
$}
${
  imim1.d1 $e |- ( p -> ( q -> r ) ) $.
  imim1.d $p |- ( p -> ( ( r -> s ) -> ( q -> s ) ) ) $=
    wp wq wr wi wi wp wr ws wi wq ws wi wi wi imim1.d1 wq wr wi wr ws wi wq ws wi wi wi wp wq wr wi wi wp wr ws wi wq ws wi wi wi wi wq wr ws
      imim1 wq wr wi wr ws wi wq ws wi wi wp imim2 mp mp $.
$}
${
  pm2.43.i1 $e |- ( p -> ( p -> q ) ) $.
  pm2.43.i $p |- ( p -> q ) $=
    wp wp wq wi wi wp wq wi pm2.43.i1 wp wq pm2.43 mp $.
$}
${
  pm2.43.j1 $e |- ( p -> ( p -> q ) ) $.
  pm2.43.j2 $e |- p $.
  pm2.43.j $p |- q $=
    wp wq pm2.43.j2 wp wp wq wi wi wp wq wi pm2.43.j1 wp wq pm2.43 mp mp $.
$}
${
  pm2.43.d1 $e |- ( p -> ( q -> ( q -> r ) ) ) $.
  pm2.43.d $p |- ( p -> ( q -> r ) ) $=
    wp wq wq wr wi wi wi wp wq wr wi wi pm2.43.d1 wq wq wr wi wi wq wr wi wi wp wq wq wr wi wi wi wp wq wr wi wi wi wq wr pm2.43 wq wq wr wi wi
      wq wr wi wp imim2 mp mp $.
$}
${
  pm2.27.i1 $e |- p $.
  pm2.27.i $p |- ( ( p -> q ) -> q ) $=
    wp wp wq wi wq wi pm2.27.i1 wp wq pm2.27 mp $.
$}
${
  pm2.27.j1 $e |- p $.
  pm2.27.j2 $e |- ( p -> q ) $.
  pm2.27.j $p |- q $=
    wp wq wi wq pm2.27.j2 wp wp wq wi wq wi pm2.27.j1 wp wq pm2.27 mp mp $.
$}
${
  pm2.27.d1 $e |- ( p -> q ) $.
  pm2.27.d $p |- ( p -> ( ( q -> r ) -> r ) ) $=
    wp wq wi wp wq wr wi wr wi wi pm2.27.d1 wq wq wr wi wr wi wi wp wq wi wp wq wr wi wr wi wi wi wq wr pm2.27 wq wq wr wi wr wi wp imim2 mp mp $.
$}
${
  a1d.i1 $e |- ( p -> q ) $.
  a1d.i $p |- ( p -> ( r -> q ) ) $=
    wp wq wi wp wr wq wi wi a1d.i1 wp wq wr a1d mp $.
$}
${
  a1d.j1 $e |- ( p -> q ) $.
  a1d.j2 $e |- p $.
  a1d.j $p |- ( r -> q ) $=
    wp wr wq wi a1d.j2 wp wq wi wp wr wq wi wi a1d.j1 wp wq wr a1d mp mp $.
$}
${
  a1d.d1 $e |- ( p -> ( q -> r ) ) $.
  a1d.d $p |- ( p -> ( q -> ( s -> r ) ) ) $=
    wp wq wr wi wi wp wq ws wr wi wi wi a1d.d1 wq wr wi wq ws wr wi wi wi wp wq wr wi wi wp wq ws wr wi wi wi wi wq wr ws a1d wq wr wi wq ws wr
      wi wi wp imim2 mp mp $.
$}
${
  a1dd.j1 $e |- ( p -> ( q -> r ) ) $.
  a1dd.j2 $e |- p $.
  a1dd.j $p |- ( q -> ( s -> r ) ) $=
    wp wq ws wr wi wi a1dd.j2 wp wq wr wi wi wp wq ws wr wi wi wi a1dd.j1 wp wq wr ws a1dd mp mp $.
$}
${
  a1dd.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  a1dd.d $p |- ( p -> ( q -> ( r -> ( t -> s ) ) ) ) $=
    wp wq wr ws wi wi wi wp wq wr wt ws wi wi wi wi a1dd.d1 wq wr ws wi wi wq wr wt ws wi wi wi wi wp wq wr ws wi wi wi wp wq wr wt ws wi wi wi
      wi wi wq wr ws wt a1dd wq wr ws wi wi wq wr wt ws wi wi wi wp imim2 mp mp $.
$}
${
  com23.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com23.j2 $e |- p $.
  com23.j $p |- ( r -> ( q -> s ) ) $=
    wp wr wq ws wi wi com23.j2 wp wq wr ws wi wi wi wp wr wq ws wi wi wi com23.j1 wp wq wr ws com23 mp mp $.
$}
${
  com23.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com23.d $p |- ( p -> ( q -> ( s -> ( r -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp wq ws wr wt wi wi wi wi com23.d1 wq wr ws wt wi wi wi wq ws wr wt wi wi wi wi wp wq wr ws wt wi wi wi wi wp wq
      ws wr wt wi wi wi wi wi wq wr ws wt com23 wq wr ws wt wi wi wi wq ws wr wt wi wi wi wp imim2 mp mp $.
$}
${
  com13.i1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com13.i $p |- ( r -> ( q -> ( p -> s ) ) ) $=
    wp wq wr ws wi wi wi wr wq wp ws wi wi wi com13.i1 wp wq wr ws com13 mp $.
$}
${
  com13.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com13.j2 $e |- r $.
  com13.j $p |- ( q -> ( p -> s ) ) $=
    wr wq wp ws wi wi com13.j2 wp wq wr ws wi wi wi wr wq wp ws wi wi wi com13.j1 wp wq wr ws com13 mp mp $.
$}
${
  com13.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com13.d $p |- ( p -> ( s -> ( r -> ( q -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp ws wr wq wt wi wi wi wi com13.d1 wq wr ws wt wi wi wi ws wr wq wt wi wi wi wi wp wq wr ws wt wi wi wi wi wp ws
      wr wq wt wi wi wi wi wi wq wr ws wt com13 wq wr ws wt wi wi wi ws wr wq wt wi wi wi wp imim2 mp mp $.
$}
${
  com3l.i1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com3l.i $p |- ( q -> ( r -> ( p -> s ) ) ) $=
    wp wq wr ws wi wi wi wq wr wp ws wi wi wi com3l.i1 wp wq wr ws com3l mp $.
$}
${
  com3l.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com3l.j2 $e |- q $.
  com3l.j $p |- ( r -> ( p -> s ) ) $=
    wq wr wp ws wi wi com3l.j2 wp wq wr ws wi wi wi wq wr wp ws wi wi wi com3l.j1 wp wq wr ws com3l mp mp $.
$}
${
  com3l.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com3l.d $p |- ( p -> ( r -> ( s -> ( q -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp wr ws wq wt wi wi wi wi com3l.d1 wq wr ws wt wi wi wi wr ws wq wt wi wi wi wi wp wq wr ws wt wi wi wi wi wp wr
      ws wq wt wi wi wi wi wi wq wr ws wt com3l wq wr ws wt wi wi wi wr ws wq wt wi wi wi wp imim2 mp mp $.
$}
${
  com3r.i1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com3r.i $p |- ( r -> ( p -> ( q -> s ) ) ) $=
    wp wq wr ws wi wi wi wr wp wq ws wi wi wi com3r.i1 wp wq wr ws com3r mp $.
$}
${
  com3r.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  com3r.j2 $e |- r $.
  com3r.j $p |- ( p -> ( q -> s ) ) $=
    wr wp wq ws wi wi com3r.j2 wp wq wr ws wi wi wi wr wp wq ws wi wi wi com3r.j1 wp wq wr ws com3r mp mp $.
$}
${
  com3r.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com3r.d $p |- ( p -> ( s -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp ws wq wr wt wi wi wi wi com3r.d1 wq wr ws wt wi wi wi ws wq wr wt wi wi wi wi wp wq wr ws wt wi wi wi wi wp ws
      wq wr wt wi wi wi wi wi wq wr ws wt com3r wq wr ws wt wi wi wi ws wq wr wt wi wi wi wp imim2 mp mp $.
$}
${
  com34.j1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com34.j2 $e |- p $.
  com34.j $p |- ( q -> ( s -> ( r -> t ) ) ) $=
    wp wq ws wr wt wi wi wi com34.j2 wp wq wr ws wt wi wi wi wi wp wq ws wr wt wi wi wi wi com34.j1 wp wq wr ws wt com34 mp mp $.
$}
${
  com34.d1 $e |- ( p -> ( q -> ( r -> ( s -> ( t -> u ) ) ) ) ) $.
  com34.d $p |- ( p -> ( q -> ( r -> ( t -> ( s -> u ) ) ) ) ) $=
    wp wq wr ws wt wu wi wi wi wi wi wp wq wr wt ws wu wi wi wi wi wi com34.d1 wq wr ws wt wu wi wi wi wi wq wr wt ws wu wi wi wi wi wi wp wq wr
      ws wt wu wi wi wi wi wi wp wq wr wt ws wu wi wi wi wi wi wi wq wr ws wt wu com34 wq wr ws wt wu wi wi wi wi wq wr wt ws wu wi wi wi wi wp
      imim2 mp mp $.
$}
${
  com14.i1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com14.i $p |- ( s -> ( q -> ( r -> ( p -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi ws wq wr wp wt wi wi wi wi com14.i1 wp wq wr ws wt com14 mp $.
$}
${
  com14.j1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  com14.j2 $e |- s $.
  com14.j $p |- ( q -> ( r -> ( p -> t ) ) ) $=
    ws wq wr wp wt wi wi wi com14.j2 wp wq wr ws wt wi wi wi wi ws wq wr wp wt wi wi wi wi com14.j1 wp wq wr ws wt com14 mp mp $.
$}
${
  com14.d1 $e |- ( p -> ( q -> ( r -> ( s -> ( t -> u ) ) ) ) ) $.
  com14.d $p |- ( p -> ( t -> ( r -> ( s -> ( q -> u ) ) ) ) ) $=
    wp wq wr ws wt wu wi wi wi wi wi wp wt wr ws wq wu wi wi wi wi wi com14.d1 wq wr ws wt wu wi wi wi wi wt wr ws wq wu wi wi wi wi wi wp wq wr
      ws wt wu wi wi wi wi wi wp wt wr ws wq wu wi wi wi wi wi wi wq wr ws wt wu com14 wq wr ws wt wu wi wi wi wi wt wr ws wq wu wi wi wi wi wp
      imim2 mp mp $.
$}
${
  pm2.86.i1 $e |- ( ( p -> q ) -> ( r -> s ) ) $.
  pm2.86.i $p |- ( r -> ( q -> s ) ) $=
    wp wq wi wr ws wi wi wr wq ws wi wi pm2.86.i1 wp wq wr ws pm2.86 mp $.
$}
${
  pm2.86.j1 $e |- ( ( p -> q ) -> ( r -> s ) ) $.
  pm2.86.j2 $e |- r $.
  pm2.86.j $p |- ( q -> s ) $=
    wr wq ws wi pm2.86.j2 wp wq wi wr ws wi wi wr wq ws wi wi pm2.86.j1 wp wq wr ws pm2.86 mp mp $.
$}
${
  pm2.86.d1 $e |- ( p -> ( ( q -> r ) -> ( s -> t ) ) ) $.
  pm2.86.d $p |- ( p -> ( s -> ( r -> t ) ) ) $=
    wp wq wr wi ws wt wi wi wi wp ws wr wt wi wi wi pm2.86.d1 wq wr wi ws wt wi wi ws wr wt wi wi wi wp wq wr wi ws wt wi wi wi wp ws wr wt wi
      wi wi wi wq wr ws wt pm2.86 wq wr wi ws wt wi wi ws wr wt wi wi wp imim2 mp mp $.
$}
${
  jarr.i1 $e |- ( ( p -> q ) -> r ) $.
  jarr.i $p |- ( q -> r ) $=
    wp wq wi wr wi wq wr wi jarr.i1 wp wq wr jarr mp $.
$}
${
  jarr.j1 $e |- ( ( p -> q ) -> r ) $.
  jarr.j2 $e |- q $.
  jarr.j $p |- r $=
    wq wr jarr.j2 wp wq wi wr wi wq wr wi jarr.j1 wp wq wr jarr mp mp $.
$}
${
  jarr.d1 $e |- ( p -> ( ( q -> r ) -> s ) ) $.
  jarr.d $p |- ( p -> ( r -> s ) ) $=
    wp wq wr wi ws wi wi wp wr ws wi wi jarr.d1 wq wr wi ws wi wr ws wi wi wp wq wr wi ws wi wi wp wr ws wi wi wi wq wr ws jarr wq wr wi ws wi
      wr ws wi wp imim2 mp mp $.
$}
${
  jarl.i1 $e |- ( ( p -> q ) -> r ) $.
  jarl.i $p |- ( -. p -> r ) $=
    wp wq wi wr wi wp wn wr wi jarl.i1 wp wq wr jarl mp $.
$}
${
  jarl.j1 $e |- ( ( p -> q ) -> r ) $.
  jarl.j2 $e |- -. p $.
  jarl.j $p |- r $=
    wp wn wr jarl.j2 wp wq wi wr wi wp wn wr wi jarl.j1 wp wq wr jarl mp mp $.
$}
${
  jarl.d1 $e |- ( p -> ( ( q -> r ) -> s ) ) $.
  jarl.d $p |- ( p -> ( -. q -> s ) ) $=
    wp wq wr wi ws wi wi wp wq wn ws wi wi jarl.d1 wq wr wi ws wi wq wn ws wi wi wp wq wr wi ws wi wi wp wq wn ws wi wi wi wq wr ws jarl wq wr
      wi ws wi wq wn ws wi wp imim2 mp mp $.
$}
${
  imim12.i1 $e |- ( p -> q ) $.
  imim12.i $p |- ( ( r -> s ) -> ( ( q -> r ) -> ( p -> s ) ) ) $=
    wp wq wi wr ws wi wq wr wi wp ws wi wi wi imim12.i1 wp wq wr ws imim12 mp $.
$}
${
  imim12.j1 $e |- ( p -> q ) $.
  imim12.j2 $e |- ( r -> s ) $.
  imim12.j $p |- ( ( q -> r ) -> ( p -> s ) ) $=
    wr ws wi wq wr wi wp ws wi wi imim12.j2 wp wq wi wr ws wi wq wr wi wp ws wi wi wi imim12.j1 wp wq wr ws imim12 mp mp $.
$}
${
  imim12.d1 $e |- ( p -> ( q -> r ) ) $.
  imim12.d $p |- ( p -> ( ( s -> t ) -> ( ( r -> s ) -> ( q -> t ) ) ) ) $=
    wp wq wr wi wi wp ws wt wi wr ws wi wq wt wi wi wi wi imim12.d1 wq wr wi ws wt wi wr ws wi wq wt wi wi wi wi wp wq wr wi wi wp ws wt wi wr
      ws wi wq wt wi wi wi wi wi wq wr ws wt imim12 wq wr wi ws wt wi wr ws wi wq wt wi wi wi wp imim2 mp mp $.
$}
${
  imim3.i1 $e |- ( p -> ( q -> r ) ) $.
  imim3.i $p |- ( ( s -> q ) -> ( ( s -> p ) -> ( s -> r ) ) ) $=
    wp wq wr wi wi ws wq wi ws wp wi ws wr wi wi wi imim3.i1 wp wq wr ws imim3 mp $.
$}
${
  imim3.j1 $e |- ( p -> ( q -> r ) ) $.
  imim3.j2 $e |- ( s -> q ) $.
  imim3.j $p |- ( ( s -> p ) -> ( s -> r ) ) $=
    ws wq wi ws wp wi ws wr wi wi imim3.j2 wp wq wr wi wi ws wq wi ws wp wi ws wr wi wi wi imim3.j1 wp wq wr ws imim3 mp mp $.
$}
${
  imim3.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  imim3.d $p |- ( p -> ( ( t -> r ) -> ( ( t -> q ) -> ( t -> s ) ) ) ) $=
    wp wq wr ws wi wi wi wp wt wr wi wt wq wi wt ws wi wi wi wi imim3.d1 wq wr ws wi wi wt wr wi wt wq wi wt ws wi wi wi wi wp wq wr ws wi wi wi
      wp wt wr wi wt wq wi wt ws wi wi wi wi wi wq wr ws wt imim3 wq wr ws wi wi wt wr wi wt wq wi wt ws wi wi wi wp imim2 mp mp $.
$}
${
  loowoz.i1 $e |- ( ( p -> q ) -> ( r -> s ) ) $.
  loowoz.i $p |- ( ( q -> r ) -> ( q -> s ) ) $=
    wp wq wi wr ws wi wi wq wr wi wq ws wi wi loowoz.i1 wp wq wr ws loowoz mp $.
$}
${
  loowoz.j1 $e |- ( ( p -> q ) -> ( r -> s ) ) $.
  loowoz.j2 $e |- ( q -> r ) $.
  loowoz.j $p |- ( q -> s ) $=
    wq wr wi wq ws wi loowoz.j2 wp wq wi wr ws wi wi wq wr wi wq ws wi wi loowoz.j1 wp wq wr ws loowoz mp mp $.
$}
${
  loowoz.d1 $e |- ( p -> ( ( q -> r ) -> ( s -> t ) ) ) $.
  loowoz.d $p |- ( p -> ( ( r -> s ) -> ( r -> t ) ) ) $=
    wp wq wr wi ws wt wi wi wi wp wr ws wi wr wt wi wi wi loowoz.d1 wq wr wi ws wt wi wi wr ws wi wr wt wi wi wi wp wq wr wi ws wt wi wi wi wp
      wr ws wi wr wt wi wi wi wi wq wr ws wt loowoz wq wr wi ws wt wi wi wr ws wi wr wt wi wi wp imim2 mp mp $.
$}
${
  syl5.i1 $e |- ( p -> q ) $.
  syl5.i $p |- ( ( r -> ( q -> s ) ) -> ( r -> ( p -> s ) ) ) $=
    wp wq wi wr wq ws wi wi wr wp ws wi wi wi syl5.i1 wp wq wr ws syl5 mp $.
$}
${
  syl5.j1 $e |- ( p -> q ) $.
  syl5.j2 $e |- ( r -> ( q -> s ) ) $.
  syl5.j $p |- ( r -> ( p -> s ) ) $=
    wr wq ws wi wi wr wp ws wi wi syl5.j2 wp wq wi wr wq ws wi wi wr wp ws wi wi wi syl5.j1 wp wq wr ws syl5 mp mp $.
$}
${
  syl5.d1 $e |- ( p -> ( q -> r ) ) $.
  syl5.d $p |- ( p -> ( ( s -> ( r -> t ) ) -> ( s -> ( q -> t ) ) ) ) $=
    wp wq wr wi wi wp ws wr wt wi wi ws wq wt wi wi wi wi syl5.d1 wq wr wi ws wr wt wi wi ws wq wt wi wi wi wi wp wq wr wi wi wp ws wr wt wi wi
      ws wq wt wi wi wi wi wi wq wr ws wt syl5 wq wr wi ws wr wt wi wi ws wq wt wi wi wi wp imim2 mp mp $.
$}
${
  syl6.i1 $e |- ( p -> ( q -> r ) ) $.
  syl6.i $p |- ( ( r -> s ) -> ( p -> ( q -> s ) ) ) $=
    wp wq wr wi wi wr ws wi wp wq ws wi wi wi syl6.i1 wp wq wr ws syl6 mp $.
$}
${
  syl6.j1 $e |- ( p -> ( q -> r ) ) $.
  syl6.j2 $e |- ( r -> s ) $.
  syl6.j $p |- ( p -> ( q -> s ) ) $=
    wr ws wi wp wq ws wi wi syl6.j2 wp wq wr wi wi wr ws wi wp wq ws wi wi wi syl6.j1 wp wq wr ws syl6 mp mp $.
$}
${
  syl6.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  syl6.d $p |- ( p -> ( ( s -> t ) -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wi wi wi wp ws wt wi wq wr wt wi wi wi wi syl6.d1 wq wr ws wi wi ws wt wi wq wr wt wi wi wi wi wp wq wr ws wi wi wi wp ws wt wi
      wq wr wt wi wi wi wi wi wq wr ws wt syl6 wq wr ws wi wi ws wt wi wq wr wt wi wi wi wp imim2 mp mp $.
$}
${
  sylc.i1 $e |- ( p -> q ) $.
  sylc.i $p |- ( ( p -> r ) -> ( ( q -> ( r -> s ) ) -> ( p -> s ) ) ) $=
    wp wq wi wp wr wi wq wr ws wi wi wp ws wi wi wi sylc.i1 wp wq wr ws sylc mp $.
$}
${
  sylc.j1 $e |- ( p -> q ) $.
  sylc.j2 $e |- ( p -> r ) $.
  sylc.j $p |- ( ( q -> ( r -> s ) ) -> ( p -> s ) ) $=
    wp wr wi wq wr ws wi wi wp ws wi wi sylc.j2 wp wq wi wp wr wi wq wr ws wi wi wp ws wi wi wi sylc.j1 wp wq wr ws sylc mp mp $.
$}
${
  sylc.d1 $e |- ( p -> ( q -> r ) ) $.
  sylc.d $p |- ( p -> ( ( q -> s ) -> ( ( r -> ( s -> t ) ) -> ( q -> t ) ) ) ) $=
    wp wq wr wi wi wp wq ws wi wr ws wt wi wi wq wt wi wi wi wi sylc.d1 wq wr wi wq ws wi wr ws wt wi wi wq wt wi wi wi wi wp wq wr wi wi wp wq
      ws wi wr ws wt wi wi wq wt wi wi wi wi wi wq wr ws wt sylc wq wr wi wq ws wi wr ws wt wi wi wq wt wi wi wi wp imim2 mp mp $.
$}
${
  mpid.i1 $e |- ( p -> q ) $.
  mpid.i $p |- ( ( p -> ( q -> r ) ) -> ( p -> r ) ) $=
    wp wq wi wp wq wr wi wi wp wr wi wi mpid.i1 wp wq wr mpid mp $.
$}
${
  mpid.j1 $e |- ( p -> q ) $.
  mpid.j2 $e |- ( p -> ( q -> r ) ) $.
  mpid.j $p |- ( p -> r ) $=
    wp wq wr wi wi wp wr wi mpid.j2 wp wq wi wp wq wr wi wi wp wr wi wi mpid.j1 wp wq wr mpid mp mp $.
$}
${
  mpid.d1 $e |- ( p -> ( q -> r ) ) $.
  mpid.d $p |- ( p -> ( ( q -> ( r -> s ) ) -> ( q -> s ) ) ) $=
    wp wq wr wi wi wp wq wr ws wi wi wq ws wi wi wi mpid.d1 wq wr wi wq wr ws wi wi wq ws wi wi wi wp wq wr wi wi wp wq wr ws wi wi wq ws wi wi
      wi wi wq wr ws mpid wq wr wi wq wr ws wi wi wq ws wi wi wp imim2 mp mp $.
$}
${
  mpdd.i1 $e |- ( p -> ( q -> r ) ) $.
  mpdd.i $p |- ( ( p -> ( q -> ( r -> s ) ) ) -> ( p -> ( q -> s ) ) ) $=
    wp wq wr wi wi wp wq wr ws wi wi wi wp wq ws wi wi wi mpdd.i1 wp wq wr ws mpdd mp $.
$}
${
  mpdd.j1 $e |- ( p -> ( q -> r ) ) $.
  mpdd.j2 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  mpdd.j $p |- ( p -> ( q -> s ) ) $=
    wp wq wr ws wi wi wi wp wq ws wi wi mpdd.j2 wp wq wr wi wi wp wq wr ws wi wi wi wp wq ws wi wi wi mpdd.j1 wp wq wr ws mpdd mp mp $.
$}
${
  mpdd.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  mpdd.d $p |- ( p -> ( ( q -> ( r -> ( s -> t ) ) ) -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wi wi wi wp wq wr ws wt wi wi wi wq wr wt wi wi wi wi mpdd.d1 wq wr ws wi wi wq wr ws wt wi wi wi wq wr wt wi wi wi wi wp wq wr
      ws wi wi wi wp wq wr ws wt wi wi wi wq wr wt wi wi wi wi wi wq wr ws wt mpdd wq wr ws wi wi wq wr ws wt wi wi wi wq wr wt wi wi wi wp imim2
      mp mp $.
$}
${
  syldd.i1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  syldd.i $p |- ( ( p -> ( q -> ( s -> t ) ) ) -> ( p -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wi wi wi wp wq ws wt wi wi wi wp wq wr wt wi wi wi wi syldd.i1 wp wq wr ws wt syldd mp $.
$}
${
  syldd.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  syldd.j2 $e |- ( p -> ( q -> ( s -> t ) ) ) $.
  syldd.j $p |- ( p -> ( q -> ( r -> t ) ) ) $=
    wp wq ws wt wi wi wi wp wq wr wt wi wi wi syldd.j2 wp wq wr ws wi wi wi wp wq ws wt wi wi wi wp wq wr wt wi wi wi wi syldd.j1 wp wq wr ws wt
      syldd mp mp $.
$}
${
  syldd.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  syldd.d $p |- ( p -> ( ( q -> ( r -> ( t -> u ) ) ) -> ( q -> ( r -> ( s -> u ) ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp wq wr wt wu wi wi wi wq wr ws wu wi wi wi wi wi syldd.d1 wq wr ws wt wi wi wi wq wr wt wu wi wi wi wq wr ws wu
      wi wi wi wi wi wp wq wr ws wt wi wi wi wi wp wq wr wt wu wi wi wi wq wr ws wu wi wi wi wi wi wi wq wr ws wt wu syldd wq wr ws wt wi wi wi wq
      wr wt wu wi wi wi wq wr ws wu wi wi wi wi wp imim2 mp mp $.
$}
${
  pm2.43a.i1 $e |- ( p -> ( q -> ( p -> r ) ) ) $.
  pm2.43a.i $p |- ( p -> ( q -> r ) ) $=
    wp wq wp wr wi wi wi wp wq wr wi wi pm2.43a.i1 wp wq wr pm2.43a mp $.
$}
${
  pm2.43a.j1 $e |- ( p -> ( q -> ( p -> r ) ) ) $.
  pm2.43a.j2 $e |- p $.
  pm2.43a.j $p |- ( q -> r ) $=
    wp wq wr wi pm2.43a.j2 wp wq wp wr wi wi wi wp wq wr wi wi pm2.43a.j1 wp wq wr pm2.43a mp mp $.
$}
${
  pm2.43a.d1 $e |- ( p -> ( q -> ( r -> ( q -> s ) ) ) ) $.
  pm2.43a.d $p |- ( p -> ( q -> ( r -> s ) ) ) $=
    wp wq wr wq ws wi wi wi wi wp wq wr ws wi wi wi pm2.43a.d1 wq wr wq ws wi wi wi wq wr ws wi wi wi wp wq wr wq ws wi wi wi wi wp wq wr ws wi
      wi wi wi wq wr ws pm2.43a wq wr wq ws wi wi wi wq wr ws wi wi wp imim2 mp mp $.
$}
${
  pm2.83.i1 $e |- ( p -> ( q -> r ) ) $.
  pm2.83.i $p |- ( ( p -> ( r -> s ) ) -> ( p -> ( q -> s ) ) ) $=
    wp wq wr wi wi wp wr ws wi wi wp wq ws wi wi wi pm2.83.i1 wp wq wr ws pm2.83 mp $.
$}
${
  pm2.83.j1 $e |- ( p -> ( q -> r ) ) $.
  pm2.83.j2 $e |- ( p -> ( r -> s ) ) $.
  pm2.83.j $p |- ( p -> ( q -> s ) ) $=
    wp wr ws wi wi wp wq ws wi wi pm2.83.j2 wp wq wr wi wi wp wr ws wi wi wp wq ws wi wi wi pm2.83.j1 wp wq wr ws pm2.83 mp mp $.
$}
${
  pm2.83.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  pm2.83.d $p |- ( p -> ( ( q -> ( s -> t ) ) -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wi wi wi wp wq ws wt wi wi wq wr wt wi wi wi wi pm2.83.d1 wq wr ws wi wi wq ws wt wi wi wq wr wt wi wi wi wi wp wq wr ws wi wi
      wi wp wq ws wt wi wi wq wr wt wi wi wi wi wi wq wr ws wt pm2.83 wq wr ws wi wi wq ws wt wi wi wq wr wt wi wi wi wp imim2 mp mp $.
$}
${
  embant.i1 $e |- p $.
  embant.i $p |- ( ( p -> q ) -> ( ( q -> r ) -> r ) ) $=
    wp wp wq wi wq wr wi wr wi wi embant.i1 wp wq wr embant mp $.
$}
${
  embant.j1 $e |- p $.
  embant.j2 $e |- ( p -> q ) $.
  embant.j $p |- ( ( q -> r ) -> r ) $=
    wp wq wi wq wr wi wr wi embant.j2 wp wp wq wi wq wr wi wr wi wi embant.j1 wp wq wr embant mp mp $.
$}
${
  embant.d1 $e |- ( p -> q ) $.
  embant.d $p |- ( p -> ( ( q -> r ) -> ( ( r -> s ) -> s ) ) ) $=
    wp wq wi wp wq wr wi wr ws wi ws wi wi wi embant.d1 wq wq wr wi wr ws wi ws wi wi wi wp wq wi wp wq wr wi wr ws wi ws wi wi wi wi wq wr ws
      embant wq wq wr wi wr ws wi ws wi wi wp imim2 mp mp $.
$}
${
  pm2.21.i1 $e |- -. p $.
  pm2.21.i $p |- ( p -> q ) $=
    wp wn wp wq wi pm2.21.i1 wp wq pm2.21 mp $.
$}
${
  pm2.21.j1 $e |- -. p $.
  pm2.21.j2 $e |- p $.
  pm2.21.j $p |- q $=
    wp wq pm2.21.j2 wp wn wp wq wi pm2.21.j1 wp wq pm2.21 mp mp $.
$}
${
  pm2.21.d1 $e |- ( p -> -. q ) $.
  pm2.21.d $p |- ( p -> ( q -> r ) ) $=
    wp wq wn wi wp wq wr wi wi pm2.21.d1 wq wn wq wr wi wi wp wq wn wi wp wq wr wi wi wi wq wr pm2.21 wq wn wq wr wi wp imim2 mp mp $.
$}
${
  pm2.24.i1 $e |- p $.
  pm2.24.i $p |- ( -. p -> q ) $=
    wp wp wn wq wi pm2.24.i1 wp wq pm2.24 mp $.
$}
${
  pm2.24.j1 $e |- p $.
  pm2.24.j2 $e |- -. p $.
  pm2.24.j $p |- q $=
    wp wn wq pm2.24.j2 wp wp wn wq wi pm2.24.j1 wp wq pm2.24 mp mp $.
$}
${
  pm2.24.d1 $e |- ( p -> q ) $.
  pm2.24.d $p |- ( p -> ( -. q -> r ) ) $=
    wp wq wi wp wq wn wr wi wi pm2.24.d1 wq wq wn wr wi wi wp wq wi wp wq wn wr wi wi wi wq wr pm2.24 wq wq wn wr wi wp imim2 mp mp $.
$}
${
  pm2.18.i1 $e |- ( -. p -> p ) $.
  pm2.18.i $p |- p $=
    wp wn wp wi wp pm2.18.i1 wp pm2.18 mp $.
$}
${
  pm2.18.d1 $e |- ( p -> ( -. q -> q ) ) $.
  pm2.18.d $p |- ( p -> q ) $=
    wp wq wn wq wi wi wp wq wi pm2.18.d1 wq wn wq wi wq wi wp wq wn wq wi wi wp wq wi wi wq pm2.18 wq wn wq wi wq wp imim2 mp mp $.
$}
${
  notnotr.i1 $e |- -. -. p $.
  notnotr.i $p |- p $=
    wp wn wn wp notnotr.i1 wp notnotr mp $.
$}
${
  notnotr.d1 $e |- ( p -> -. -. q ) $.
  notnotr.d $p |- ( p -> q ) $=
    wp wq wn wn wi wp wq wi notnotr.d1 wq wn wn wq wi wp wq wn wn wi wp wq wi wi wq notnotr wq wn wn wq wp imim2 mp mp $.
$}
${
  notnot.i1 $e |- p $.
  notnot.i $p |- -. -. p $=
    wp wp wn wn notnot.i1 wp notnot mp $.
$}
${
  notnot.d1 $e |- ( p -> q ) $.
  notnot.d $p |- ( p -> -. -. q ) $=
    wp wq wi wp wq wn wn wi notnot.d1 wq wq wn wn wi wp wq wi wp wq wn wn wi wi wq notnot wq wq wn wn wp imim2 mp mp $.
$}
${
  con1.i1 $e |- ( -. p -> q ) $.
  con1.i $p |- ( -. q -> p ) $=
    wp wn wq wi wq wn wp wi con1.i1 wp wq con1 mp $.
$}
${
  con1.j1 $e |- ( -. p -> q ) $.
  con1.j2 $e |- -. q $.
  con1.j $p |- p $=
    wq wn wp con1.j2 wp wn wq wi wq wn wp wi con1.j1 wp wq con1 mp mp $.
$}
${
  con1.d1 $e |- ( p -> ( -. q -> r ) ) $.
  con1.d $p |- ( p -> ( -. r -> q ) ) $=
    wp wq wn wr wi wi wp wr wn wq wi wi con1.d1 wq wn wr wi wr wn wq wi wi wp wq wn wr wi wi wp wr wn wq wi wi wi wq wr con1 wq wn wr wi wr wn
      wq wi wp imim2 mp mp $.
$}
${
  con2.i1 $e |- ( p -> -. q ) $.
  con2.i $p |- ( q -> -. p ) $=
    wp wq wn wi wq wp wn wi con2.i1 wp wq con2 mp $.
$}
${
  con2.j1 $e |- ( p -> -. q ) $.
  con2.j2 $e |- q $.
  con2.j $p |- -. p $=
    wq wp wn con2.j2 wp wq wn wi wq wp wn wi con2.j1 wp wq con2 mp mp $.
$}
${
  con2.d1 $e |- ( p -> ( q -> -. r ) ) $.
  con2.d $p |- ( p -> ( r -> -. q ) ) $=
    wp wq wr wn wi wi wp wr wq wn wi wi con2.d1 wq wr wn wi wr wq wn wi wi wp wq wr wn wi wi wp wr wq wn wi wi wi wq wr con2 wq wr wn wi wr wq
      wn wi wp imim2 mp mp $.
$}
${
  con3.i1 $e |- ( p -> q ) $.
  con3.i $p |- ( -. q -> -. p ) $=
    wp wq wi wq wn wp wn wi con3.i1 wp wq con3 mp $.
$}
${
  con3.j1 $e |- ( p -> q ) $.
  con3.j2 $e |- -. q $.
  con3.j $p |- -. p $=
    wq wn wp wn con3.j2 wp wq wi wq wn wp wn wi con3.j1 wp wq con3 mp mp $.
$}
${
  con3.d1 $e |- ( p -> ( q -> r ) ) $.
  con3.d $p |- ( p -> ( -. r -> -. q ) ) $=
    wp wq wr wi wi wp wr wn wq wn wi wi con3.d1 wq wr wi wr wn wq wn wi wi wp wq wr wi wi wp wr wn wq wn wi wi wi wq wr con3 wq wr wi wr wn wq
      wn wi wp imim2 mp mp $.
$}
${
  pm2.01.i1 $e |- ( p -> -. p ) $.
  pm2.01.i $p |- -. p $=
    wp wp wn wi wp wn pm2.01.i1 wp pm2.01 mp $.
$}
${
  pm2.01.d1 $e |- ( p -> ( q -> -. q ) ) $.
  pm2.01.d $p |- ( p -> -. q ) $=
    wp wq wq wn wi wi wp wq wn wi pm2.01.d1 wq wq wn wi wq wn wi wp wq wq wn wi wi wp wq wn wi wi wq pm2.01 wq wq wn wi wq wn wp imim2 mp mp $.
$}
${
  pm2.6.i1 $e |- ( -. p -> q ) $.
  pm2.6.i $p |- ( ( p -> q ) -> q ) $=
    wp wn wq wi wp wq wi wq wi pm2.6.i1 wp wq pm2.6 mp $.
$}
${
  pm2.6.j1 $e |- ( -. p -> q ) $.
  pm2.6.j2 $e |- ( p -> q ) $.
  pm2.6.j $p |- q $=
    wp wq wi wq pm2.6.j2 wp wn wq wi wp wq wi wq wi pm2.6.j1 wp wq pm2.6 mp mp $.
$}
${
  pm2.6.d1 $e |- ( p -> ( -. q -> r ) ) $.
  pm2.6.d $p |- ( p -> ( ( q -> r ) -> r ) ) $=
    wp wq wn wr wi wi wp wq wr wi wr wi wi pm2.6.d1 wq wn wr wi wq wr wi wr wi wi wp wq wn wr wi wi wp wq wr wi wr wi wi wi wq wr pm2.6 wq wn wr
      wi wq wr wi wr wi wp imim2 mp mp $.
$}
${
  pm2.61.i1 $e |- ( p -> q ) $.
  pm2.61.i $p |- ( ( -. p -> q ) -> q ) $=
    wp wq wi wp wn wq wi wq wi pm2.61.i1 wp wq pm2.61 mp $.
$}
${
  pm2.61.j1 $e |- ( p -> q ) $.
  pm2.61.j2 $e |- ( -. p -> q ) $.
  pm2.61.j $p |- q $=
    wp wn wq wi wq pm2.61.j2 wp wq wi wp wn wq wi wq wi pm2.61.j1 wp wq pm2.61 mp mp $.
$}
${
  pm2.61.d1 $e |- ( p -> ( q -> r ) ) $.
  pm2.61.d $p |- ( p -> ( ( -. q -> r ) -> r ) ) $=
    wp wq wr wi wi wp wq wn wr wi wr wi wi pm2.61.d1 wq wr wi wq wn wr wi wr wi wi wp wq wr wi wi wp wq wn wr wi wr wi wi wi wq wr pm2.61 wq wr
      wi wq wn wr wi wr wi wp imim2 mp mp $.
$}
${
  pm2.65.i1 $e |- ( p -> q ) $.
  pm2.65.i $p |- ( ( p -> -. q ) -> -. p ) $=
    wp wq wi wp wq wn wi wp wn wi pm2.65.i1 wp wq pm2.65 mp $.
$}
${
  pm2.65.j1 $e |- ( p -> q ) $.
  pm2.65.j2 $e |- ( p -> -. q ) $.
  pm2.65.j $p |- -. p $=
    wp wq wn wi wp wn pm2.65.j2 wp wq wi wp wq wn wi wp wn wi pm2.65.j1 wp wq pm2.65 mp mp $.
$}
${
  pm2.65.d1 $e |- ( p -> ( q -> r ) ) $.
  pm2.65.d $p |- ( p -> ( ( q -> -. r ) -> -. q ) ) $=
    wp wq wr wi wi wp wq wr wn wi wq wn wi wi pm2.65.d1 wq wr wi wq wr wn wi wq wn wi wi wp wq wr wi wi wp wq wr wn wi wq wn wi wi wi wq wr
      pm2.65 wq wr wi wq wr wn wi wq wn wi wp imim2 mp mp $.
$}
${
  pm2.68.i1 $e |- ( ( p -> q ) -> r ) $.
  pm2.68.i $p |- ( ( -. q -> r ) -> r ) $=
    wp wq wi wr wi wq wn wr wi wr wi pm2.68.i1 wp wq wr pm2.68 mp $.
$}
${
  pm2.68.j1 $e |- ( ( p -> q ) -> r ) $.
  pm2.68.j2 $e |- ( -. q -> r ) $.
  pm2.68.j $p |- r $=
    wq wn wr wi wr pm2.68.j2 wp wq wi wr wi wq wn wr wi wr wi pm2.68.j1 wp wq wr pm2.68 mp mp $.
$}
${
  pm2.68.d1 $e |- ( p -> ( ( q -> r ) -> s ) ) $.
  pm2.68.d $p |- ( p -> ( ( -. r -> s ) -> s ) ) $=
    wp wq wr wi ws wi wi wp wr wn ws wi ws wi wi pm2.68.d1 wq wr wi ws wi wr wn ws wi ws wi wi wp wq wr wi ws wi wi wp wr wn ws wi ws wi wi wi
      wq wr ws pm2.68 wq wr wi ws wi wr wn ws wi ws wi wp imim2 mp mp $.
$}
${
  peirce.i1 $e |- ( ( p -> q ) -> p ) $.
  peirce.i $p |- p $=
    wp wq wi wp wi wp peirce.i1 wp wq peirce mp $.
$}
${
  peirce.d1 $e |- ( p -> ( ( q -> r ) -> q ) ) $.
  peirce.d $p |- ( p -> q ) $=
    wp wq wr wi wq wi wi wp wq wi peirce.d1 wq wr wi wq wi wq wi wp wq wr wi wq wi wi wp wq wi wi wq wr peirce wq wr wi wq wi wq wp imim2 mp mp $.
$}
${
  looinv.i1 $e |- ( ( p -> q ) -> r ) $.
  looinv.i $p |- ( ( r -> p ) -> p ) $=
    wp wq wi wr wi wr wp wi wp wi looinv.i1 wp wq wr looinv mp $.
$}
${
  looinv.j1 $e |- ( ( p -> q ) -> r ) $.
  looinv.j2 $e |- ( r -> p ) $.
  looinv.j $p |- p $=
    wr wp wi wp looinv.j2 wp wq wi wr wi wr wp wi wp wi looinv.j1 wp wq wr looinv mp mp $.
$}
${
  looinv.d1 $e |- ( p -> ( ( q -> r ) -> s ) ) $.
  looinv.d $p |- ( p -> ( ( s -> q ) -> q ) ) $=
    wp wq wr wi ws wi wi wp ws wq wi wq wi wi looinv.d1 wq wr wi ws wi ws wq wi wq wi wi wp wq wr wi ws wi wi wp ws wq wi wq wi wi wi wq wr ws
      looinv wq wr wi ws wi ws wq wi wq wi wp imim2 mp mp $.
$}
${
  simplim.i1 $e |- -. ( p -> q ) $.
  simplim.i $p |- p $=
    wp wq wi wn wp simplim.i1 wp wq simplim mp $.
$}
${
  simplim.d1 $e |- ( p -> -. ( q -> r ) ) $.
  simplim.d $p |- ( p -> q ) $=
    wp wq wr wi wn wi wp wq wi simplim.d1 wq wr wi wn wq wi wp wq wr wi wn wi wp wq wi wi wq wr simplim wq wr wi wn wq wp imim2 mp mp $.
$}
${
  simprim.i1 $e |- -. ( p -> q ) $.
  simprim.i $p |- -. q $=
    wp wq wi wn wq wn simprim.i1 wp wq simprim mp $.
$}
${
  simprim.d1 $e |- ( p -> -. ( q -> r ) ) $.
  simprim.d $p |- ( p -> -. r ) $=
    wp wq wr wi wn wi wp wr wn wi simprim.d1 wq wr wi wn wr wn wi wp wq wr wi wn wi wp wr wn wi wi wq wr simprim wq wr wi wn wr wn wp imim2 mp
      mp $.
$}
${
  simpr.i1 $e |- -. ( p -> -. q ) $.
  simpr.i $p |- q $=
    wp wq wn wi wn wq simpr.i1 wp wq simpr mp $.
$}
${
  simpr.d1 $e |- ( p -> -. ( q -> -. r ) ) $.
  simpr.d $p |- ( p -> r ) $=
    wp wq wr wn wi wn wi wp wr wi simpr.d1 wq wr wn wi wn wr wi wp wq wr wn wi wn wi wp wr wi wi wq wr simpr wq wr wn wi wn wr wp imim2 mp mp $.
$}
${
  pm3.2im.i1 $e |- p $.
  pm3.2im.i $p |- ( q -> -. ( p -> -. q ) ) $=
    wp wq wp wq wn wi wn wi pm3.2im.i1 wp wq pm3.2im mp $.
$}
${
  pm3.2im.j1 $e |- p $.
  pm3.2im.j2 $e |- q $.
  pm3.2im.j $p |- -. ( p -> -. q ) $=
    wq wp wq wn wi wn pm3.2im.j2 wp wq wp wq wn wi wn wi pm3.2im.j1 wp wq pm3.2im mp mp $.
$}
${
  pm3.2im.d1 $e |- ( p -> q ) $.
  pm3.2im.d $p |- ( p -> ( r -> -. ( q -> -. r ) ) ) $=
    wp wq wi wp wr wq wr wn wi wn wi wi pm3.2im.d1 wq wr wq wr wn wi wn wi wi wp wq wi wp wr wq wr wn wi wn wi wi wi wq wr pm3.2im wq wr wq wr
      wn wi wn wi wp imim2 mp mp $.
$}
${
  impt.i1 $e |- ( p -> ( q -> r ) ) $.
  impt.i $p |- ( -. ( p -> -. q ) -> r ) $=
    wp wq wr wi wi wp wq wn wi wn wr wi impt.i1 wp wq wr impt mp $.
$}
${
  impt.j1 $e |- ( p -> ( q -> r ) ) $.
  impt.j2 $e |- -. ( p -> -. q ) $.
  impt.j $p |- r $=
    wp wq wn wi wn wr impt.j2 wp wq wr wi wi wp wq wn wi wn wr wi impt.j1 wp wq wr impt mp mp $.
$}
${
  impt.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  impt.d $p |- ( p -> ( -. ( q -> -. r ) -> s ) ) $=
    wp wq wr ws wi wi wi wp wq wr wn wi wn ws wi wi impt.d1 wq wr ws wi wi wq wr wn wi wn ws wi wi wp wq wr ws wi wi wi wp wq wr wn wi wn ws wi
      wi wi wq wr ws impt wq wr ws wi wi wq wr wn wi wn ws wi wp imim2 mp mp $.
$}
${
  expt.i1 $e |- ( -. ( p -> -. q ) -> r ) $.
  expt.i $p |- ( p -> ( q -> r ) ) $=
    wp wq wn wi wn wr wi wp wq wr wi wi expt.i1 wp wq wr expt mp $.
$}
${
  expt.j1 $e |- ( -. ( p -> -. q ) -> r ) $.
  expt.j2 $e |- p $.
  expt.j $p |- ( q -> r ) $=
    wp wq wr wi expt.j2 wp wq wn wi wn wr wi wp wq wr wi wi expt.j1 wp wq wr expt mp mp $.
$}
${
  expt.d1 $e |- ( p -> ( -. ( q -> -. r ) -> s ) ) $.
  expt.d $p |- ( p -> ( q -> ( r -> s ) ) ) $=
    wp wq wr wn wi wn ws wi wi wp wq wr ws wi wi wi expt.d1 wq wr wn wi wn ws wi wq wr ws wi wi wi wp wq wr wn wi wn ws wi wi wp wq wr ws wi wi
      wi wi wq wr ws expt wq wr wn wi wn ws wi wq wr ws wi wi wp imim2 mp mp $.
$}
${
  jc.i1 $e |- ( p -> q ) $.
  jc.i $p |- ( ( p -> r ) -> ( p -> -. ( q -> -. r ) ) ) $=
    wp wq wi wp wr wi wp wq wr wn wi wn wi wi jc.i1 wp wq wr jc mp $.
$}
${
  jc.j1 $e |- ( p -> q ) $.
  jc.j2 $e |- ( p -> r ) $.
  jc.j $p |- ( p -> -. ( q -> -. r ) ) $=
    wp wr wi wp wq wr wn wi wn wi jc.j2 wp wq wi wp wr wi wp wq wr wn wi wn wi wi jc.j1 wp wq wr jc mp mp $.
$}
${
  jc.d1 $e |- ( p -> ( q -> r ) ) $.
  jc.d $p |- ( p -> ( ( q -> s ) -> ( q -> -. ( r -> -. s ) ) ) ) $=
    wp wq wr wi wi wp wq ws wi wq wr ws wn wi wn wi wi wi jc.d1 wq wr wi wq ws wi wq wr ws wn wi wn wi wi wi wp wq wr wi wi wp wq ws wi wq wr ws
      wn wi wn wi wi wi wi wq wr ws jc wq wr wi wq ws wi wq wr ws wn wi wn wi wi wp imim2 mp mp $.
$}
${
  ja.i1 $e |- ( -. p -> q ) $.
  ja.i $p |- ( ( r -> q ) -> ( ( p -> r ) -> q ) ) $=
    wp wn wq wi wr wq wi wp wr wi wq wi wi ja.i1 wp wq wr ja mp $.
$}
${
  ja.j1 $e |- ( -. p -> q ) $.
  ja.j2 $e |- ( r -> q ) $.
  ja.j $p |- ( ( p -> r ) -> q ) $=
    wr wq wi wp wr wi wq wi ja.j2 wp wn wq wi wr wq wi wp wr wi wq wi wi ja.j1 wp wq wr ja mp mp $.
$}
${
  ja.d1 $e |- ( p -> ( -. q -> r ) ) $.
  ja.d $p |- ( p -> ( ( s -> r ) -> ( ( q -> s ) -> r ) ) ) $=
    wp wq wn wr wi wi wp ws wr wi wq ws wi wr wi wi wi ja.d1 wq wn wr wi ws wr wi wq ws wi wr wi wi wi wp wq wn wr wi wi wp ws wr wi wq ws wi wr
      wi wi wi wi wq wr ws ja wq wn wr wi ws wr wi wq ws wi wr wi wi wp imim2 mp mp $.
$}
${
  jao.i1 $e |- ( p -> q ) $.
  jao.i $p |- ( ( r -> q ) -> ( ( -. p -> r ) -> q ) ) $=
    wp wq wi wr wq wi wp wn wr wi wq wi wi jao.i1 wp wq wr jao mp $.
$}
${
  jao.j1 $e |- ( p -> q ) $.
  jao.j2 $e |- ( r -> q ) $.
  jao.j $p |- ( ( -. p -> r ) -> q ) $=
    wr wq wi wp wn wr wi wq wi jao.j2 wp wq wi wr wq wi wp wn wr wi wq wi wi jao.j1 wp wq wr jao mp mp $.
$}
${
  jao.d1 $e |- ( p -> ( q -> r ) ) $.
  jao.d $p |- ( p -> ( ( s -> r ) -> ( ( -. q -> s ) -> r ) ) ) $=
    wp wq wr wi wi wp ws wr wi wq wn ws wi wr wi wi wi jao.d1 wq wr wi ws wr wi wq wn ws wi wr wi wi wi wp wq wr wi wi wp ws wr wi wq wn ws wi
      wr wi wi wi wi wq wr ws jao wq wr wi ws wr wi wq wn ws wi wr wi wi wp imim2 mp mp $.
$}
${
  mth8.i1 $e |- p $.
  mth8.i $p |- ( -. q -> -. ( p -> q ) ) $=
    wp wq wn wp wq wi wn wi mth8.i1 wp wq mth8 mp $.
$}
${
  mth8.j1 $e |- p $.
  mth8.j2 $e |- -. q $.
  mth8.j $p |- -. ( p -> q ) $=
    wq wn wp wq wi wn mth8.j2 wp wq wn wp wq wi wn wi mth8.j1 wp wq mth8 mp mp $.
$}
${
  mth8.d1 $e |- ( p -> q ) $.
  mth8.d $p |- ( p -> ( -. r -> -. ( q -> r ) ) ) $=
    wp wq wi wp wr wn wq wr wi wn wi wi mth8.d1 wq wr wn wq wr wi wn wi wi wp wq wi wp wr wn wq wr wi wn wi wi wi wq wr mth8 wq wr wn wq wr wi
      wn wi wp imim2 mp mp $.
$}
${
  pm2.521.i1 $e |- -. ( p -> q ) $.
  pm2.521.i $p |- ( r -> p ) $=
    wp wq wi wn wr wp wi pm2.521.i1 wp wq wr pm2.521 mp $.
$}
${
  pm2.521.j1 $e |- -. ( p -> q ) $.
  pm2.521.j2 $e |- r $.
  pm2.521.j $p |- p $=
    wr wp pm2.521.j2 wp wq wi wn wr wp wi pm2.521.j1 wp wq wr pm2.521 mp mp $.
$}
${
  pm2.521.d1 $e |- ( p -> -. ( q -> r ) ) $.
  pm2.521.d $p |- ( p -> ( s -> q ) ) $=
    wp wq wr wi wn wi wp ws wq wi wi pm2.521.d1 wq wr wi wn ws wq wi wi wp wq wr wi wn wi wp ws wq wi wi wi wq wr ws pm2.521 wq wr wi wn ws wq
      wi wp imim2 mp mp $.
$}
${
  pm2.5.i1 $e |- -. ( p -> q ) $.
  pm2.5.i $p |- ( -. p -> r ) $=
    wp wq wi wn wp wn wr wi pm2.5.i1 wp wq wr pm2.5 mp $.
$}
${
  pm2.5.j1 $e |- -. ( p -> q ) $.
  pm2.5.j2 $e |- -. p $.
  pm2.5.j $p |- r $=
    wp wn wr pm2.5.j2 wp wq wi wn wp wn wr wi pm2.5.j1 wp wq wr pm2.5 mp mp $.
$}
${
  pm2.5.d1 $e |- ( p -> -. ( q -> r ) ) $.
  pm2.5.d $p |- ( p -> ( -. q -> s ) ) $=
    wp wq wr wi wn wi wp wq wn ws wi wi pm2.5.d1 wq wr wi wn wq wn ws wi wi wp wq wr wi wn wi wp wq wn ws wi wi wi wq wr ws pm2.5 wq wr wi wn wq
      wn ws wi wp imim2 mp mp $.
$}
${
  pm2.51.i1 $e |- -. ( p -> q ) $.
  pm2.51.i $p |- ( r -> -. q ) $=
    wp wq wi wn wr wq wn wi pm2.51.i1 wp wq wr pm2.51 mp $.
$}
${
  pm2.51.j1 $e |- -. ( p -> q ) $.
  pm2.51.j2 $e |- r $.
  pm2.51.j $p |- -. q $=
    wr wq wn pm2.51.j2 wp wq wi wn wr wq wn wi pm2.51.j1 wp wq wr pm2.51 mp mp $.
$}
${
  pm2.51.d1 $e |- ( p -> -. ( q -> r ) ) $.
  pm2.51.d $p |- ( p -> ( s -> -. r ) ) $=
    wp wq wr wi wn wi wp ws wr wn wi wi pm2.51.d1 wq wr wi wn ws wr wn wi wi wp wq wr wi wn wi wp ws wr wn wi wi wi wq wr ws pm2.51 wq wr wi wn
      ws wr wn wi wp imim2 mp mp $.
$}
${
  con34.j1 $e |- ( p -> ( q -> r ) ) $.
  con34.j2 $e |- p $.
  con34.j $p |- ( -. r -> -. q ) $=
    wp wr wn wq wn wi con34.j2 wp wq wr wi wi wp wr wn wq wn wi wi con34.j1 wp wq wr con34 mp mp $.
$}
${
  con34.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  con34.d $p |- ( p -> ( q -> ( -. s -> -. r ) ) ) $=
    wp wq wr ws wi wi wi wp wq ws wn wr wn wi wi wi con34.d1 wq wr ws wi wi wq ws wn wr wn wi wi wi wp wq wr ws wi wi wi wp wq ws wn wr wn wi wi
      wi wi wq wr ws con34 wq wr ws wi wi wq ws wn wr wn wi wi wp imim2 mp mp $.
$}
${
  con23.j1 $e |- ( p -> ( q -> -. r ) ) $.
  con23.j2 $e |- p $.
  con23.j $p |- ( r -> -. q ) $=
    wp wr wq wn wi con23.j2 wp wq wr wn wi wi wp wr wq wn wi wi con23.j1 wp wq wr con23 mp mp $.
$}
${
  con23.d1 $e |- ( p -> ( q -> ( r -> -. s ) ) ) $.
  con23.d $p |- ( p -> ( q -> ( s -> -. r ) ) ) $=
    wp wq wr ws wn wi wi wi wp wq ws wr wn wi wi wi con23.d1 wq wr ws wn wi wi wq ws wr wn wi wi wi wp wq wr ws wn wi wi wi wp wq ws wr wn wi wi
      wi wi wq wr ws con23 wq wr ws wn wi wi wq ws wr wn wi wi wp imim2 mp mp $.
$}
${
  con13.j1 $e |- ( p -> ( -. q -> r ) ) $.
  con13.j2 $e |- p $.
  con13.j $p |- ( -. r -> q ) $=
    wp wr wn wq wi con13.j2 wp wq wn wr wi wi wp wr wn wq wi wi con13.j1 wp wq wr con13 mp mp $.
$}
${
  con13.d1 $e |- ( p -> ( q -> ( -. r -> s ) ) ) $.
  con13.d $p |- ( p -> ( q -> ( -. s -> r ) ) ) $=
    wp wq wr wn ws wi wi wi wp wq ws wn wr wi wi wi con13.d1 wq wr wn ws wi wi wq ws wn wr wi wi wi wp wq wr wn ws wi wi wi wp wq ws wn wr wi wi
      wi wi wq wr ws con13 wq wr wn ws wi wi wq ws wn wr wi wi wp imim2 mp mp $.
$}
${
  nsyl.i1 $e |- ( p -> -. q ) $.
  nsyl.i $p |- ( ( r -> q ) -> ( p -> -. r ) ) $=
    wp wq wn wi wr wq wi wp wr wn wi wi nsyl.i1 wp wq wr nsyl mp $.
$}
${
  nsyl.j1 $e |- ( p -> -. q ) $.
  nsyl.j2 $e |- ( r -> q ) $.
  nsyl.j $p |- ( p -> -. r ) $=
    wr wq wi wp wr wn wi nsyl.j2 wp wq wn wi wr wq wi wp wr wn wi wi nsyl.j1 wp wq wr nsyl mp mp $.
$}
${
  nsyl.d1 $e |- ( p -> ( q -> -. r ) ) $.
  nsyl.d $p |- ( p -> ( ( s -> r ) -> ( q -> -. s ) ) ) $=
    wp wq wr wn wi wi wp ws wr wi wq ws wn wi wi wi nsyl.d1 wq wr wn wi ws wr wi wq ws wn wi wi wi wp wq wr wn wi wi wp ws wr wi wq ws wn wi wi
      wi wi wq wr ws nsyl wq wr wn wi ws wr wi wq ws wn wi wi wp imim2 mp mp $.
$}
${
  nsyl2.i1 $e |- ( p -> -. q ) $.
  nsyl2.i $p |- ( ( -. r -> q ) -> ( p -> r ) ) $=
    wp wq wn wi wr wn wq wi wp wr wi wi nsyl2.i1 wp wq wr nsyl2 mp $.
$}
${
  nsyl2.j1 $e |- ( p -> -. q ) $.
  nsyl2.j2 $e |- ( -. r -> q ) $.
  nsyl2.j $p |- ( p -> r ) $=
    wr wn wq wi wp wr wi nsyl2.j2 wp wq wn wi wr wn wq wi wp wr wi wi nsyl2.j1 wp wq wr nsyl2 mp mp $.
$}
${
  nsyl2.d1 $e |- ( p -> ( q -> -. r ) ) $.
  nsyl2.d $p |- ( p -> ( ( -. s -> r ) -> ( q -> s ) ) ) $=
    wp wq wr wn wi wi wp ws wn wr wi wq ws wi wi wi nsyl2.d1 wq wr wn wi ws wn wr wi wq ws wi wi wi wp wq wr wn wi wi wp ws wn wr wi wq ws wi wi
      wi wi wq wr ws nsyl2 wq wr wn wi ws wn wr wi wq ws wi wi wp imim2 mp mp $.
$}
${
  nsyl3.i1 $e |- ( p -> -. q ) $.
  nsyl3.i $p |- ( ( r -> q ) -> ( r -> -. p ) ) $=
    wp wq wn wi wr wq wi wr wp wn wi wi nsyl3.i1 wp wq wr nsyl3 mp $.
$}
${
  nsyl3.j1 $e |- ( p -> -. q ) $.
  nsyl3.j2 $e |- ( r -> q ) $.
  nsyl3.j $p |- ( r -> -. p ) $=
    wr wq wi wr wp wn wi nsyl3.j2 wp wq wn wi wr wq wi wr wp wn wi wi nsyl3.j1 wp wq wr nsyl3 mp mp $.
$}
${
  nsyl3.d1 $e |- ( p -> ( q -> -. r ) ) $.
  nsyl3.d $p |- ( p -> ( ( s -> r ) -> ( s -> -. q ) ) ) $=
    wp wq wr wn wi wi wp ws wr wi ws wq wn wi wi wi nsyl3.d1 wq wr wn wi ws wr wi ws wq wn wi wi wi wp wq wr wn wi wi wp ws wr wi ws wq wn wi wi
      wi wi wq wr ws nsyl3 wq wr wn wi ws wr wi ws wq wn wi wi wp imim2 mp mp $.
$}
${
  mt2.i1 $e |- p $.
  mt2.i $p |- ( ( q -> -. p ) -> -. q ) $=
    wp wq wp wn wi wq wn wi mt2.i1 wp wq mt2 mp $.
$}
${
  mt2.j1 $e |- p $.
  mt2.j2 $e |- ( q -> -. p ) $.
  mt2.j $p |- -. q $=
    wq wp wn wi wq wn mt2.j2 wp wq wp wn wi wq wn wi mt2.j1 wp wq mt2 mp mp $.
$}
${
  mt2.d1 $e |- ( p -> q ) $.
  mt2.d $p |- ( p -> ( ( r -> -. q ) -> -. r ) ) $=
    wp wq wi wp wr wq wn wi wr wn wi wi mt2.d1 wq wr wq wn wi wr wn wi wi wp wq wi wp wr wq wn wi wr wn wi wi wi wq wr mt2 wq wr wq wn wi wr wn
      wi wp imim2 mp mp $.
$}
${
  mt3.i1 $e |- -. p $.
  mt3.i $p |- ( ( -. q -> p ) -> q ) $=
    wp wn wq wn wp wi wq wi mt3.i1 wp wq mt3 mp $.
$}
${
  mt3.j1 $e |- -. p $.
  mt3.j2 $e |- ( -. q -> p ) $.
  mt3.j $p |- q $=
    wq wn wp wi wq mt3.j2 wp wn wq wn wp wi wq wi mt3.j1 wp wq mt3 mp mp $.
$}
${
  mt3.d1 $e |- ( p -> -. q ) $.
  mt3.d $p |- ( p -> ( ( -. r -> q ) -> r ) ) $=
    wp wq wn wi wp wr wn wq wi wr wi wi mt3.d1 wq wn wr wn wq wi wr wi wi wp wq wn wi wp wr wn wq wi wr wi wi wi wq wr mt3 wq wn wr wn wq wi wr
      wi wp imim2 mp mp $.
$}
${
  pm2.65d.i1 $e |- ( p -> ( q -> r ) ) $.
  pm2.65d.i $p |- ( ( p -> ( q -> -. r ) ) -> ( p -> -. q ) ) $=
    wp wq wr wi wi wp wq wr wn wi wi wp wq wn wi wi pm2.65d.i1 wp wq wr pm2.65d mp $.
$}
${
  pm2.65d.j1 $e |- ( p -> ( q -> r ) ) $.
  pm2.65d.j2 $e |- ( p -> ( q -> -. r ) ) $.
  pm2.65d.j $p |- ( p -> -. q ) $=
    wp wq wr wn wi wi wp wq wn wi pm2.65d.j2 wp wq wr wi wi wp wq wr wn wi wi wp wq wn wi wi pm2.65d.j1 wp wq wr pm2.65d mp mp $.
$}
${
  pm2.65d.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  pm2.65d.d $p |- ( p -> ( ( q -> ( r -> -. s ) ) -> ( q -> -. r ) ) ) $=
    wp wq wr ws wi wi wi wp wq wr ws wn wi wi wq wr wn wi wi wi pm2.65d.d1 wq wr ws wi wi wq wr ws wn wi wi wq wr wn wi wi wi wp wq wr ws wi wi
      wi wp wq wr ws wn wi wi wq wr wn wi wi wi wi wq wr ws pm2.65d wq wr ws wi wi wq wr ws wn wi wi wq wr wn wi wi wp imim2 mp mp $.
$}
${
  pm2.61d.i1 $e |- ( p -> ( q -> r ) ) $.
  pm2.61d.i $p |- ( ( p -> ( -. q -> r ) ) -> ( p -> r ) ) $=
    wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi pm2.61d.i1 wp wq wr pm2.61d mp $.
$}
${
  pm2.61d.j1 $e |- ( p -> ( q -> r ) ) $.
  pm2.61d.j2 $e |- ( p -> ( -. q -> r ) ) $.
  pm2.61d.j $p |- ( p -> r ) $=
    wp wq wn wr wi wi wp wr wi pm2.61d.j2 wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi pm2.61d.j1 wp wq wr pm2.61d mp mp $.
$}
${
  pm2.61d.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  pm2.61d.d $p |- ( p -> ( ( q -> ( -. r -> s ) ) -> ( q -> s ) ) ) $=
    wp wq wr ws wi wi wi wp wq wr wn ws wi wi wq ws wi wi wi pm2.61d.d1 wq wr ws wi wi wq wr wn ws wi wi wq ws wi wi wi wp wq wr ws wi wi wi wp
      wq wr wn ws wi wi wq ws wi wi wi wi wq wr ws pm2.61d wq wr ws wi wi wq wr wn ws wi wi wq ws wi wi wp imim2 mp mp $.
$}
${
  peirced.j1 $e |- ( p -> ( ( q -> r ) -> q ) ) $.
  peirced.j2 $e |- p $.
  peirced.j $p |- q $=
    wp wq peirced.j2 wp wq wr wi wq wi wi wp wq wi peirced.j1 wp wq wr peirced mp mp $.
$}
${
  peirced.d1 $e |- ( p -> ( q -> ( ( r -> s ) -> r ) ) ) $.
  peirced.d $p |- ( p -> ( q -> r ) ) $=
    wp wq wr ws wi wr wi wi wi wp wq wr wi wi peirced.d1 wq wr ws wi wr wi wi wq wr wi wi wp wq wr ws wi wr wi wi wi wp wq wr wi wi wi wq wr ws
      peirced wq wr ws wi wr wi wi wq wr wi wp imim2 mp mp $.
$}
${
  pm2.18d.j1 $e |- ( p -> ( -. q -> q ) ) $.
  pm2.18d.j2 $e |- p $.
  pm2.18d.j $p |- q $=
    wp wq pm2.18d.j2 wp wq wn wq wi wi wp wq wi pm2.18d.j1 wp wq pm2.18d mp mp $.
$}
${
  pm2.18d.d1 $e |- ( p -> ( q -> ( -. r -> r ) ) ) $.
  pm2.18d.d $p |- ( p -> ( q -> r ) ) $=
    wp wq wr wn wr wi wi wi wp wq wr wi wi pm2.18d.d1 wq wr wn wr wi wi wq wr wi wi wp wq wr wn wr wi wi wi wp wq wr wi wi wi wq wr pm2.18d wq
      wr wn wr wi wi wq wr wi wp imim2 mp mp $.
$}
${
  pm2.38.i1 $e |- ( p -> q ) $.
  pm2.38.i $p |- ( ( -. p -> r ) -> ( -. q -> r ) ) $=
    wp wq wi wp wn wr wi wq wn wr wi wi pm2.38.i1 wp wq wr pm2.38 mp $.
$}
${
  pm2.38.j1 $e |- ( p -> q ) $.
  pm2.38.j2 $e |- ( -. p -> r ) $.
  pm2.38.j $p |- ( -. q -> r ) $=
    wp wn wr wi wq wn wr wi pm2.38.j2 wp wq wi wp wn wr wi wq wn wr wi wi pm2.38.j1 wp wq wr pm2.38 mp mp $.
$}
${
  pm2.38.d1 $e |- ( p -> ( q -> r ) ) $.
  pm2.38.d $p |- ( p -> ( ( -. q -> s ) -> ( -. r -> s ) ) ) $=
    wp wq wr wi wi wp wq wn ws wi wr wn ws wi wi wi pm2.38.d1 wq wr wi wq wn ws wi wr wn ws wi wi wi wp wq wr wi wi wp wq wn ws wi wr wn ws wi
      wi wi wi wq wr ws pm2.38 wq wr wi wq wn ws wi wr wn ws wi wi wp imim2 mp mp $.
$}
${
  pm2.8.i1 $e |- p $.
  pm2.8.i $p |- ( ( ( q -> r ) -> ( p -> s ) ) -> ( r -> s ) ) $=
    wp wq wr wi wp ws wi wi wr ws wi wi pm2.8.i1 wp wq wr ws pm2.8 mp $.
$}
${
  pm2.8.j1 $e |- p $.
  pm2.8.j2 $e |- ( ( q -> r ) -> ( p -> s ) ) $.
  pm2.8.j $p |- ( r -> s ) $=
    wq wr wi wp ws wi wi wr ws wi pm2.8.j2 wp wq wr wi wp ws wi wi wr ws wi wi pm2.8.j1 wp wq wr ws pm2.8 mp mp $.
$}
${
  pm2.8.d1 $e |- ( p -> q ) $.
  pm2.8.d $p |- ( p -> ( ( ( r -> s ) -> ( q -> t ) ) -> ( s -> t ) ) ) $=
    wp wq wi wp wr ws wi wq wt wi wi ws wt wi wi wi pm2.8.d1 wq wr ws wi wq wt wi wi ws wt wi wi wi wp wq wi wp wr ws wi wq wt wi wi ws wt wi wi
      wi wi wq wr ws wt pm2.8 wq wr ws wi wq wt wi wi ws wt wi wi wp imim2 mp mp $.
$}
${
  pm2.81.i1 $e |- ( p -> q ) $.
  pm2.81.i $p |- ( ( q -> ( r -> s ) ) -> ( ( p -> r ) -> ( p -> s ) ) ) $=
    wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi pm2.81.i1 wp wq wr ws pm2.81 mp $.
$}
${
  pm2.81.j1 $e |- ( p -> q ) $.
  pm2.81.j2 $e |- ( q -> ( r -> s ) ) $.
  pm2.81.j $p |- ( ( p -> r ) -> ( p -> s ) ) $=
    wq wr ws wi wi wp wr wi wp ws wi wi pm2.81.j2 wp wq wi wq wr ws wi wi wp wr wi wp ws wi wi wi pm2.81.j1 wp wq wr ws pm2.81 mp mp $.
$}
${
  pm2.81.d1 $e |- ( p -> ( q -> r ) ) $.
  pm2.81.d $p |- ( p -> ( ( r -> ( s -> t ) ) -> ( ( q -> s ) -> ( q -> t ) ) ) ) $=
    wp wq wr wi wi wp wr ws wt wi wi wq ws wi wq wt wi wi wi wi pm2.81.d1 wq wr wi wr ws wt wi wi wq ws wi wq wt wi wi wi wi wp wq wr wi wi wp
      wr ws wt wi wi wq ws wi wq wt wi wi wi wi wi wq wr ws wt pm2.81 wq wr wi wr ws wt wi wi wq ws wi wq wt wi wi wi wp imim2 mp mp $.
$}
${
  pm2.82.i1 $e |- ( -. p -> q ) $.
  pm2.82.i $p |- ( r -> ( ( p -> s ) -> ( -. s -> q ) ) ) $=
    wp wn wq wi wr wp ws wi ws wn wq wi wi wi pm2.82.i1 wp wq wr ws pm2.82 mp $.
$}
${
  pm2.82.j1 $e |- ( -. p -> q ) $.
  pm2.82.j2 $e |- r $.
  pm2.82.j $p |- ( ( p -> s ) -> ( -. s -> q ) ) $=
    wr wp ws wi ws wn wq wi wi pm2.82.j2 wp wn wq wi wr wp ws wi ws wn wq wi wi wi pm2.82.j1 wp wq wr ws pm2.82 mp mp $.
$}
${
  pm2.82.d1 $e |- ( p -> ( -. q -> r ) ) $.
  pm2.82.d $p |- ( p -> ( s -> ( ( q -> t ) -> ( -. t -> r ) ) ) ) $=
    wp wq wn wr wi wi wp ws wq wt wi wt wn wr wi wi wi wi pm2.82.d1 wq wn wr wi ws wq wt wi wt wn wr wi wi wi wi wp wq wn wr wi wi wp ws wq wt
      wi wt wn wr wi wi wi wi wi wq wr ws wt pm2.82 wq wn wr wi ws wq wt wi wt wn wr wi wi wi wp imim2 mp mp $.
$}
${
  ancom.i1 $e |- -. ( p -> -. q ) $.
  ancom.i $p |- -. ( q -> -. p ) $=
    wp wq wn wi wn wq wp wn wi wn ancom.i1 wp wq ancom mp $.
$}
${
  ancom.d1 $e |- ( p -> -. ( q -> -. r ) ) $.
  ancom.d $p |- ( p -> -. ( r -> -. q ) ) $=
    wp wq wr wn wi wn wi wp wr wq wn wi wn wi ancom.d1 wq wr wn wi wn wr wq wn wi wn wi wp wq wr wn wi wn wi wp wr wq wn wi wn wi wi wq wr ancom
      wq wr wn wi wn wr wq wn wi wn wp imim2 mp mp $.
$}
${
  anass.i1 $e |- -. ( -. ( p -> -. q ) -> -. r ) $.
  anass.i $p |- -. ( p -> -. -. ( q -> -. r ) ) $=
    wp wq wn wi wn wr wn wi wn wp wq wr wn wi wn wn wi wn anass.i1 wp wq wr anass mp $.
$}
${
  anass.d1 $e |- ( p -> -. ( -. ( q -> -. r ) -> -. s ) ) $.
  anass.d $p |- ( p -> -. ( q -> -. -. ( r -> -. s ) ) ) $=
    wp wq wr wn wi wn ws wn wi wn wi wp wq wr ws wn wi wn wn wi wn wi anass.d1 wq wr wn wi wn ws wn wi wn wq wr ws wn wi wn wn wi wn wi wp wq wr
      wn wi wn ws wn wi wn wi wp wq wr ws wn wi wn wn wi wn wi wi wq wr ws anass wq wr wn wi wn ws wn wi wn wq wr ws wn wi wn wn wi wn wp imim2 mp
      mp $.
$}
${
  andir.i1 $e |- ( p -> q ) $.
  andir.i $p |- ( -. ( p -> -. r ) -> -. ( q -> -. r ) ) $=
    wp wq wi wp wr wn wi wn wq wr wn wi wn wi andir.i1 wp wq wr andir mp $.
$}
${
  andir.j1 $e |- ( p -> q ) $.
  andir.j2 $e |- -. ( p -> -. r ) $.
  andir.j $p |- -. ( q -> -. r ) $=
    wp wr wn wi wn wq wr wn wi wn andir.j2 wp wq wi wp wr wn wi wn wq wr wn wi wn wi andir.j1 wp wq wr andir mp mp $.
$}
${
  andir.d1 $e |- ( p -> ( q -> r ) ) $.
  andir.d $p |- ( p -> ( -. ( q -> -. s ) -> -. ( r -> -. s ) ) ) $=
    wp wq wr wi wi wp wq ws wn wi wn wr ws wn wi wn wi wi andir.d1 wq wr wi wq ws wn wi wn wr ws wn wi wn wi wi wp wq wr wi wi wp wq ws wn wi wn
      wr ws wn wi wn wi wi wi wq wr ws andir wq wr wi wq ws wn wi wn wr ws wn wi wn wi wp imim2 mp mp $.
$}
${
  anim12.i1 $e |- ( p -> q ) $.
  anim12.i $p |- ( ( r -> s ) -> ( -. ( p -> -. r ) -> -. ( q -> -. s ) ) ) $=
    wp wq wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi anim12.i1 wp wq wr ws anim12 mp $.
$}
${
  anim12.j1 $e |- ( p -> q ) $.
  anim12.j2 $e |- ( r -> s ) $.
  anim12.j $p |- ( -. ( p -> -. r ) -> -. ( q -> -. s ) ) $=
    wr ws wi wp wr wn wi wn wq ws wn wi wn wi anim12.j2 wp wq wi wr ws wi wp wr wn wi wn wq ws wn wi wn wi wi anim12.j1 wp wq wr ws anim12 mp mp $.
$}
${
  anim12.d1 $e |- ( p -> ( q -> r ) ) $.
  anim12.d $p |- ( p -> ( ( s -> t ) -> ( -. ( q -> -. s ) -> -. ( r -> -. t ) ) ) ) $=
    wp wq wr wi wi wp ws wt wi wq ws wn wi wn wr wt wn wi wn wi wi wi anim12.d1 wq wr wi ws wt wi wq ws wn wi wn wr wt wn wi wn wi wi wi wp wq
      wr wi wi wp ws wt wi wq ws wn wi wn wr wt wn wi wn wi wi wi wi wq wr ws wt anim12 wq wr wi ws wt wi wq ws wn wi wn wr wt wn wi wn wi wi wp
      imim2 mp mp $.
$}
${
  anidm2.i1 $e |- p $.
  anidm2.i $p |- -. ( p -> -. p ) $=
    wp wp wp wn wi wn anidm2.i1 wp anidm2 mp $.
$}
${
  anidm2.d1 $e |- ( p -> q ) $.
  anidm2.d $p |- ( p -> -. ( q -> -. q ) ) $=
    wp wq wi wp wq wq wn wi wn wi anidm2.d1 wq wq wq wn wi wn wi wp wq wi wp wq wq wn wi wn wi wi wq anidm2 wq wq wq wn wi wn wp imim2 mp mp $.
$}
${
  dilemma.i1 $e |- ( p -> q ) $.
  dilemma.i $p |- ( ( -. p -> r ) -> ( ( q -> s ) -> ( ( r -> s ) -> s ) ) ) $=
    wp wq wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi dilemma.i1 wp wq wr ws dilemma mp $.
$}
${
  dilemma.j1 $e |- ( p -> q ) $.
  dilemma.j2 $e |- ( -. p -> r ) $.
  dilemma.j $p |- ( ( q -> s ) -> ( ( r -> s ) -> s ) ) $=
    wp wn wr wi wq ws wi wr ws wi ws wi wi dilemma.j2 wp wq wi wp wn wr wi wq ws wi wr ws wi ws wi wi wi dilemma.j1 wp wq wr ws dilemma mp mp $.
$}
${
  dilemma.d1 $e |- ( p -> ( q -> r ) ) $.
  dilemma.d $p |- ( p -> ( ( -. q -> s ) -> ( ( r -> t ) -> ( ( s -> t ) -> t ) ) ) ) $=
    wp wq wr wi wi wp wq wn ws wi wr wt wi ws wt wi wt wi wi wi wi dilemma.d1 wq wr wi wq wn ws wi wr wt wi ws wt wi wt wi wi wi wi wp wq wr wi
      wi wp wq wn ws wi wr wt wi ws wt wi wt wi wi wi wi wi wq wr ws wt dilemma wq wr wi wq wn ws wi wr wt wi ws wt wi wt wi wi wi wp imim2 mp mp $.
$}
${
  meredith.i1 $e |- -. p $.
  meredith.i $p |- ( ( q -> p ) -> ( q -> r ) ) $=
    wp wn wq wp wi wq wr wi wi meredith.i1 wp wq wr meredith mp $.
$}
${
  meredith.j1 $e |- -. p $.
  meredith.j2 $e |- ( q -> p ) $.
  meredith.j $p |- ( q -> r ) $=
    wq wp wi wq wr wi meredith.j2 wp wn wq wp wi wq wr wi wi meredith.j1 wp wq wr meredith mp mp $.
$}
${
  meredith.d1 $e |- ( p -> -. q ) $.
  meredith.d $p |- ( p -> ( ( r -> q ) -> ( r -> s ) ) ) $=
    wp wq wn wi wp wr wq wi wr ws wi wi wi meredith.d1 wq wn wr wq wi wr ws wi wi wi wp wq wn wi wp wr wq wi wr ws wi wi wi wi wq wr ws meredith
      wq wn wr wq wi wr ws wi wi wp imim2 mp mp $.
$}
${
  tarski2.i1 $e |- ( p -> q ) $.
  tarski2.i $p |- ( ( ( p -> r ) -> q ) -> q ) $=
    wp wq wi wp wr wi wq wi wq wi tarski2.i1 wp wq wr tarski2 mp $.
$}
${
  tarski2.j1 $e |- ( p -> q ) $.
  tarski2.j2 $e |- ( ( p -> r ) -> q ) $.
  tarski2.j $p |- q $=
    wp wr wi wq wi wq tarski2.j2 wp wq wi wp wr wi wq wi wq wi tarski2.j1 wp wq wr tarski2 mp mp $.
$}
${
  tarski2.d1 $e |- ( p -> ( q -> r ) ) $.
  tarski2.d $p |- ( p -> ( ( ( q -> s ) -> r ) -> r ) ) $=
    wp wq wr wi wi wp wq ws wi wr wi wr wi wi tarski2.d1 wq wr wi wq ws wi wr wi wr wi wi wp wq wr wi wi wp wq ws wi wr wi wr wi wi wi wq wr ws
      tarski2 wq wr wi wq ws wi wr wi wr wi wp imim2 mp mp $.
$}
${
  clavius.i1 $e |- ( -. p -> ( q -> p ) ) $.
  clavius.i $p |- ( q -> p ) $=
    wp wn wq wp wi wi wq wp wi clavius.i1 wp wq clavius mp $.
$}
${
  clavius.j1 $e |- ( -. p -> ( q -> p ) ) $.
  clavius.j2 $e |- q $.
  clavius.j $p |- p $=
    wq wp clavius.j2 wp wn wq wp wi wi wq wp wi clavius.j1 wp wq clavius mp mp $.
$}
${
  clavius.d1 $e |- ( p -> ( -. q -> ( r -> q ) ) ) $.
  clavius.d $p |- ( p -> ( r -> q ) ) $=
    wp wq wn wr wq wi wi wi wp wr wq wi wi clavius.d1 wq wn wr wq wi wi wr wq wi wi wp wq wn wr wq wi wi wi wp wr wq wi wi wi wq wr clavius wq
      wn wr wq wi wi wr wq wi wp imim2 mp mp $.
$}
${
  frege2.i1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  frege2.i $p |- ( ( p -> r ) -> ( p -> ( q -> s ) ) ) $=
    wp wq wr ws wi wi wi wp wr wi wp wq ws wi wi wi frege2.i1 wp wq wr ws frege2 mp $.
$}
${
  frege2.j1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  frege2.j2 $e |- ( p -> r ) $.
  frege2.j $p |- ( p -> ( q -> s ) ) $=
    wp wr wi wp wq ws wi wi frege2.j2 wp wq wr ws wi wi wi wp wr wi wp wq ws wi wi wi frege2.j1 wp wq wr ws frege2 mp mp $.
$}
${
  frege2.d1 $e |- ( p -> ( q -> ( r -> ( s -> t ) ) ) ) $.
  frege2.d $p |- ( p -> ( ( q -> s ) -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wt wi wi wi wi wp wq ws wi wq wr wt wi wi wi wi frege2.d1 wq wr ws wt wi wi wi wq ws wi wq wr wt wi wi wi wi wp wq wr ws wt wi
      wi wi wi wp wq ws wi wq wr wt wi wi wi wi wi wq wr ws wt frege2 wq wr ws wt wi wi wi wq ws wi wq wr wt wi wi wi wp imim2 mp mp $.
$}
${
  church.i1 $e |- ( p -> ( q -> r ) ) $.
  church.i $p |- ( ( r -> ( q -> s ) ) -> ( p -> ( q -> s ) ) ) $=
    wp wq wr wi wi wr wq ws wi wi wp wq ws wi wi wi church.i1 wp wq wr ws church mp $.
$}
${
  church.j1 $e |- ( p -> ( q -> r ) ) $.
  church.j2 $e |- ( r -> ( q -> s ) ) $.
  church.j $p |- ( p -> ( q -> s ) ) $=
    wr wq ws wi wi wp wq ws wi wi church.j2 wp wq wr wi wi wr wq ws wi wi wp wq ws wi wi wi church.j1 wp wq wr ws church mp mp $.
$}
${
  church.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  church.d $p |- ( p -> ( ( s -> ( r -> t ) ) -> ( q -> ( r -> t ) ) ) ) $=
    wp wq wr ws wi wi wi wp ws wr wt wi wi wq wr wt wi wi wi wi church.d1 wq wr ws wi wi ws wr wt wi wi wq wr wt wi wi wi wi wp wq wr ws wi wi
      wi wp ws wr wt wi wi wq wr wt wi wi wi wi wi wq wr ws wt church wq wr ws wi wi ws wr wt wi wi wq wr wt wi wi wi wp imim2 mp mp $.
$}
${
  share.i1 $e |- ( p -> ( q -> r ) ) $.
  share.i $p |- ( ( p -> ( s -> q ) ) -> ( p -> ( s -> r ) ) ) $=
    wp wq wr wi wi wp ws wq wi wi wp ws wr wi wi wi share.i1 wp wq wr ws share mp $.
$}
${
  share.j1 $e |- ( p -> ( q -> r ) ) $.
  share.j2 $e |- ( p -> ( s -> q ) ) $.
  share.j $p |- ( p -> ( s -> r ) ) $=
    wp ws wq wi wi wp ws wr wi wi share.j2 wp wq wr wi wi wp ws wq wi wi wp ws wr wi wi wi share.j1 wp wq wr ws share mp mp $.
$}
${
  share.d1 $e |- ( p -> ( q -> ( r -> s ) ) ) $.
  share.d $p |- ( p -> ( ( q -> ( t -> r ) ) -> ( q -> ( t -> s ) ) ) ) $=
    wp wq wr ws wi wi wi wp wq wt wr wi wi wq wt ws wi wi wi wi share.d1 wq wr ws wi wi wq wt wr wi wi wq wt ws wi wi wi wi wp wq wr ws wi wi wi
      wp wq wt wr wi wi wq wt ws wi wi wi wi wi wq wr ws wt share wq wr ws wi wi wq wt wr wi wi wq wt ws wi wi wi wp imim2 mp mp $.
$}
${
  dni.i1 $e |- p $.
  dni.i $p |- ( ( -. -. p -> q ) -> q ) $=
    wp wp wn wn wq wi wq wi dni.i1 wp wq dni mp $.
$}
${
  dni.j1 $e |- p $.
  dni.j2 $e |- ( -. -. p -> q ) $.
  dni.j $p |- q $=
    wp wn wn wq wi wq dni.j2 wp wp wn wn wq wi wq wi dni.j1 wp wq dni mp mp $.
$}
${
  dni.d1 $e |- ( p -> q ) $.
  dni.d $p |- ( p -> ( ( -. -. q -> r ) -> r ) ) $=
    wp wq wi wp wq wn wn wr wi wr wi wi dni.d1 wq wq wn wn wr wi wr wi wi wp wq wi wp wq wn wn wr wi wr wi wi wi wq wr dni wq wq wn wn wr wi wr
      wi wp imim2 mp mp $.
$}
${
  dne.i1 $e |- ( p -> q ) $.
  dne.i $p |- ( -. -. p -> q ) $=
    wp wq wi wp wn wn wq wi dne.i1 wp wq dne mp $.
$}
${
  dne.j1 $e |- ( p -> q ) $.
  dne.j2 $e |- -. -. p $.
  dne.j $p |- q $=
    wp wn wn wq dne.j2 wp wq wi wp wn wn wq wi dne.j1 wp wq dne mp mp $.
$}
${
  dne.d1 $e |- ( p -> ( q -> r ) ) $.
  dne.d $p |- ( p -> ( -. -. q -> r ) ) $=
    wp wq wr wi wi wp wq wn wn wr wi wi dne.d1 wq wr wi wq wn wn wr wi wi wp wq wr wi wi wp wq wn wn wr wi wi wi wq wr dne wq wr wi wq wn wn wr
      wi wp imim2 mp mp $.
$}
${
  dnid.j1 $e |- ( p -> q ) $.
  dnid.j2 $e |- p $.
  dnid.j $p |- -. -. q $=
    wp wq wn wn dnid.j2 wp wq wi wp wq wn wn wi dnid.j1 wp wq dnid mp mp $.
$}
${
  dnid.d1 $e |- ( p -> ( q -> r ) ) $.
  dnid.d $p |- ( p -> ( q -> -. -. r ) ) $=
    wp wq wr wi wi wp wq wr wn wn wi wi dnid.d1 wq wr wi wq wr wn wn wi wi wp wq wr wi wi wp wq wr wn wn wi wi wi wq wr dnid wq wr wi wq wr wn
      wn wi wp imim2 mp mp $.
$}
${
  dned.j1 $e |- ( p -> -. -. q ) $.
  dned.j2 $e |- p $.
  dned.j $p |- q $=
    wp wq dned.j2 wp wq wn wn wi wp wq wi dned.j1 wp wq dned mp mp $.
$}
${
  dned.d1 $e |- ( p -> ( q -> -. -. r ) ) $.
  dned.d $p |- ( p -> ( q -> r ) ) $=
    wp wq wr wn wn wi wi wp wq wr wi wi dned.d1 wq wr wn wn wi wq wr wi wi wp wq wr wn wn wi wi wp wq wr wi wi wi wq wr dned wq wr wn wn wi wq
      wr wi wp imim2 mp mp $.
$}
${
  notnotnot.i1 $e |- -. -. -. p $.
  notnotnot.i $p |- -. p $=
    wp wn wn wn wp wn notnotnot.i1 wp notnotnot mp $.
$}
${
  notnotnot.d1 $e |- ( p -> -. -. -. q ) $.
  notnotnot.d $p |- ( p -> -. q ) $=
    wp wq wn wn wn wi wp wq wn wi notnotnot.d1 wq wn wn wn wq wn wi wp wq wn wn wn wi wp wq wn wi wi wq notnotnot wq wn wn wn wq wn wp imim2 mp
      mp $.
$}
${
  contra.i1 $e |- p $.
  contra.i $p |- ( q -> q ) $=
    wp wq wq wi contra.i1 wp wq contra mp $.
$}
${
  contra.d1 $e |- ( p -> q ) $.
  contra.d $p |- ( p -> ( r -> r ) ) $=
    wp wq wi wp wr wr wi wi contra.d1 wq wr wr wi wi wp wq wi wp wr wr wi wi wi wq wr contra wq wr wr wi wp imim2 mp mp $.
$}
t001 $p |- ( -. ( ( p -> -. q ) -> -. q ) -> -. p ) $=
  wp wq wn wi wq wp wn wi wi wp wq wn wi wq wn wi wn wp wn wi wp wq con2 wp wq wn wi wq wp wn impt mp $.
t002 $p |- ( ( -. p -> ( -. q -> r ) ) -> ( q -> ( -. q -> r ) ) ) $=
  wq wq wn wp wn wi wi wp wn wq wn wr wi wi wq wq wn wr wi wi wi wp wq wi wq wn wp wn wi wi wq wq wn wp wn wi wi wp wq con3 wp wq wq wn wp wn
    wi jarr mp wq wq wn wp wn wr church mp $.
t003 $p |- ( p -> ( ( -. -. p -> q ) -> ( r -> q ) ) ) $=
  wp wp wn wn wq wi wq wi wi wp wp wn wn wq wi wr wq wi wi wi wp wq dni wp wp wn wn wq wi wq wr a1dd mp $.
t004 $p |- ( p -> ( q -> ( ( ( r -> q ) -> ( p -> s ) ) -> s ) ) ) $=
  wr wq wi wp ws wi wi wq wp ws wi wi wi wp wq wr wq wi wp ws wi wi ws wi wi wi wr wq wp ws wi jarr wr wq wi wp ws wi wi wq wp ws com13 mp $.
t005 $p |- ( -. ( ( ( p -> q ) -> p ) -> p ) -> r ) $=
  wp wq wi wp wi wp wi wp wq wi wp wi wp wi wn wr wi wp wq peirce wp wq wi wp wi wp wi wr pm2.24 mp $.
t006 $p |- ( p -> ( -. -. ( p -> -. q ) -> -. q ) ) $=
  wp wq wp wq wn wi wn wi wi wp wp wq wn wi wn wn wq wn wi wi wp wq pm3.2im wp wq wp wq wn wi wn con34 mp $.
t007 $p |- ( ( ( ( -. p -> q ) -> ( -. r -> q ) ) -> p ) -> p ) $=
  wp wr wi wp wn wq wi wr wn wq wi wi wi wp wn wq wi wr wn wq wi wi wp wi wp wi wp wr wq pm2.38 wp wr wp wn wq wi wr wn wq wi wi looinv mp $.
t008 $p |- -. -. ( ( p -> ( q -> r ) ) -> ( p -> ( q -> r ) ) ) $=
  wp wq wr wi wi wq wp wr wi wi wi wp wq wr wi wi wp wq wr wi wi wi wn wn wp wq wr com12 wp wq wr wi wi wq wp wr wi wi wi wp wq wr wi wi wp wq
    wr wi wi wi wi wp wq wr wi wi wq wp wr wi wi wi wp wq wr wi wi wp wq wr wi wi wi wn wn wi wp wq wr wi wi wq wp wr com23 wp wq wr wi wi wq wp
    wr wi wi wi wp wq wr wi wi wp wq wr wi wi wi dnid mp mp $.
t009 $p |- ( -. p -> ( ( q -> r ) -> ( ( q -> p ) -> ( q -> s ) ) ) ) $=
  wp wr ws wi wi wq wr wi wq wp wi wq ws wi wi wi wi wp wn wq wr wi wq wp wi wq ws wi wi wi wi wp wr ws wq imim3 wp wr ws wi wq wr wi wq wp wi
    wq ws wi wi wi jarl mp $.
t010 $p |- ( ( ( ( p -> ( -. q -> r ) ) -> ( p -> r ) ) -> p ) -> p ) $=
  wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi wi wp wq wn wr wi wi wp wr wi wi wp wi wp wi wp wq wr pm2.61d wp wq wr wi wp wq wn wr wi wi wp
    wr wi wi looinv mp $.
t011 $p |- ( ( p -> q ) -> -. -. ( -. -. p -> q ) ) $=
  wp wq wi wp wn wn wq wi wi wp wq wi wp wn wn wq wi wn wn wi wp wq dne wp wq wi wp wn wn wq wi dnid mp $.
t012 $p |- ( ( -. ( p -> ( p -> q ) ) -> ( p -> q ) ) -> ( p -> q ) ) $=
  wp wp wq wi wi wp wq wi wi wp wp wq wi wi wn wp wq wi wi wp wq wi wi wp wq pm2.43 wp wp wq wi wi wp wq wi pm2.61 mp $.
t013 $p |- ( p -> ( ( q -> ( q -> ( p -> r ) ) ) -> ( q -> r ) ) ) $=
  wq wq wp wr wi wi wi wq wp wr wi wi wi wp wq wq wp wr wi wi wi wq wr wi wi wi wq wp wr wi pm2.43 wq wq wp wr wi wi wi wq wp wr com3r mp $.
t014 $p |- ( -. ( -. -. ( -. p -> -. q ) -> -. q ) -> p ) $=
  wp wn wp wn wq wn wi wn wn wq wn wi wi wp wn wq wn wi wn wn wq wn wi wn wp wi wp wn wq t006 wp wp wn wq wn wi wn wn wq wn wi con1 mp $.
t015 $p |- ( p -> ( ( -. q -> q ) -> q ) ) $=
  wp wq wn wq wi wi wp wq wi wi wp wq wn wq wi wq wi wi wp wq pm2.18d wp wq wn wq wi wp wq pm2.86 mp $.
t016 $p |- ( p -> ( ( q -> ( p -> r ) ) -> ( q -> r ) ) ) $=
  wq wp wr wi wi wq wp wr wi wi wi wp wq wp wr wi wi wq wr wi wi wi wp wp wp wp wi wi wi wp wp wi wp wp wp wi wi wi wi wq wp wr wi wi wq wp wr
    wi wi wi wp wp wp wp frege2 wp wp wp wp wi wi wi wp wp wi wp wp wp wi wi wi wi wq wp wr wi wi contra mp wq wp wr wi wi wq wp wr com3r mp $.
t017 $p |- ( p -> ( ( -. q -> r ) -> ( -. r -> q ) ) ) $=
  wq wn wr wi wr wn wq wi wi wp wq wn wr wi wr wn wq wi wi wi wq wr con1 wq wn wr wi wr wn wq wi wi wp ax-1 mp $.
t018 $p |- ( p -> ( ( q -> ( q -> ( p -> r ) ) ) -> ( s -> s ) ) ) $=
  wq wr wi ws ws wi wi wp wq wq wp wr wi wi wi ws ws wi wi wi wq wr wi ws contra wp wq wq wp wr wi wi wi wq wr wi wi wi wq wr wi ws ws wi wi
    wp wq wq wp wr wi wi wi ws ws wi wi wi wi wp wq wr t013 wp wq wq wp wr wi wi wi wq wr wi ws ws wi syl6 mp mp $.
t019 $p |- ( -. p -> ( ( q -> p ) -> -. q ) ) $=
  wq wp wi wp wn wq wn wi wi wp wn wq wp wi wq wn wi wi wq wp con3 wq wp wi wp wn wq wn com12 mp $.
t020 $p |- ( -. ( p -> q ) -> ( ( q -> r ) -> ( q -> s ) ) ) $=
  wp wq wi wr ws wi wi wq wr wi wq ws wi wi wi wp wq wi wn wq wr wi wq ws wi wi wi wp wq wr ws loowoz wp wq wi wr ws wi wq wr wi wq ws wi wi
    jarl mp $.
t021 $p |- ( ( ( p -> q ) -> r ) -> ( s -> ( -. s -> r ) ) ) $=
  ws ws wn wp wq wi wi wi wp wq wi wr wi ws ws wn wr wi wi wi ws ws wn wq wi wi ws ws wn wp wq wi wi wi ws wq pm2.24 ws ws wn wq wp a1dd mp ws
    ws wn wp wq wi wr syl6 mp $.
t022 $p |- -. -. ( -. -. ( p -> -. p ) -> -. p ) $=
  wp wp wn wi wp wn wi wp wp wn wi wn wn wp wn wi wn wn wp pm2.01 wp wp wn wi wp wn t011 mp $.
t023 $p |- ( ( -. -. -. -. p -> -. p ) -> -. p ) $=
  wp wn wn wn wp wn wi wp wn wn wn wn wp wn wi wp wn wi wp notnotnot wp wn wn wn wp wn pm2.61 mp $.
t024 $p |- ( -. ( -. ( p -> q ) -> -. q ) -> r ) $=
  wp wq wi wn wq wn wi wp wq wi wn wq wn wi wn wr wi wp wq simprim wp wq wi wn wq wn wi wn wp wq wi wn wq wn wi wr wi wi wp wq wi wn wq wn wi
    wp wq wi wn wq wn wi wn wr wi wi wp wq wi wn wq wn wi wr pm2.21 wp wq wi wn wq wn wi wn wp wq wi wn wq wn wi wr com12 mp mp $.
t025 $p |- ( ( p -> q ) -> ( ( ( r -> r ) -> p ) -> ( s -> q ) ) ) $=
  ws wr wr wi wi wp wq wi wr wr wi wp wi ws wq wi wi wi ws wr contra ws wr wr wi wp wq imim12 mp $.
t026 $p |- ( ( ( -. p -> p ) -> -. p ) -> -. ( -. p -> p ) ) $=
  wp wn wp wi wp wi wp wn wp wi wp wn wi wp wn wp wi wn wi wp pm2.18 wp wn wp wi wp pm2.65 mp $.
t027 $p |- ( ( p -> -. q ) -> ( p -> ( q -> r ) ) ) $=
  wq wn wq wr wi wi wp wq wn wi wp wq wr wi wi wi wq wr pm2.21 wq wn wq wr wi wp imim2 mp $.
t028 $p |- ( ( ( -. p -> q ) -> -. q ) -> -. q ) $=
  wq wn wp wi wp wn wq wi wi wp wn wq wi wq wn wi wq wn wi wq wp con1 wq wn wp wp wn wq wi looinv mp $.
t029 $p |- ( ( p -> q ) -> ( r -> ( ( r -> p ) -> q ) ) ) $=
  wr wr wp wi wp wi wi wp wq wi wr wr wp wi wq wi wi wi wr wp pm2.27 wr wr wp wi wp wq syl6 mp $.
t030 $p |- ( ( p -> q ) -> ( ( -. q -> p ) -> q ) ) $=
  wq wn wn wq wi wp wq wi wq wn wp wi wq wi wi wq notnotr wq wn wq wp ja mp $.
t031 $p |- ( -. p -> ( -. -. ( ( p -> q ) -> -. r ) -> -. r ) ) $=
  wp wq wi wp wq wi wr wn wi wn wn wr wn wi wi wp wn wp wq wi wr wn wi wn wn wr wn wi wi wp wq wi wr t006 wp wq wp wq wi wr wn wi wn wn wr wn
    wi jarl mp $.
t032 $p |- ( -. ( p -> q ) -> -. -. ( r -> p ) ) $=
  wp wq wi wn wr wp wi wi wp wq wi wn wr wp wi wn wn wi wp wq wr pm2.521 wp wq wi wn wr wp wi dnid mp $.
t033 $p |- ( p -> ( ( p -> ( q -> r ) ) -> ( q -> ( s -> r ) ) ) ) $=
  wp wq wr wi wi wp wq ws wr wi wi wi wi wp wp wq wr wi wi wq ws wr wi wi wi wi wp wq wr ws a1dd wp wq wr wi wi wp wq ws wr wi wi com12 mp $.
t034 $p |- ( -. ( ( p -> q ) -> ( ( p -> r ) -> ( p -> s ) ) ) -> r ) $=
  wr wn wp wq wi wp wr wi wp ws wi wi wi wi wp wq wi wp wr wi wp ws wi wi wi wn wr wi wr wp wq ws t009 wr wp wq wi wp wr wi wp ws wi wi wi
    con1 mp $.
t035 $p |- -. -. ( ( p -> ( q -> r ) ) -> ( q -> ( p -> r ) ) ) $=
  wp wq wr wi wi wq wp wr wi wi wi wn wn wp wq wr wi wi wq wp wr wi wi wi wn wn wi wp wq wr wi wi wq wp wr wi wi wi wn wn wp wq wr wi wi wq wp
    wr wi wi wi wn wn id wp wq wr wi wi wq wp wr wi wi wi wp wq wr wi wi wq wp wr wi wi wi wn wn wp wq wr wi wi wq wp wr wi wi wi wn wn wi wp wq
    wr wi wi wq wp wr wi wi wi wn wn wi wp wq wr com12 wp wq wr wi wi wq wp wr wi wi wi wp wq wr wi wi wq wp wr wi wi wi wn wn dni mp mp $.
t036 $p |- ( ( ( ( p -> q ) -> ( -. q -> -. p ) ) -> r ) -> r ) $=
  wp wq wi wq wn wp wn wi wi wp wq wi wq wn wp wn wi wi wr wi wr wi wp wq con3 wp wq wi wq wn wp wn wi wi wr pm2.27 mp $.
t037 $p |- ( -. p -> -. -. -. -. ( -. ( q -> r ) -> -. r ) ) $=
  wq wr wi wn wr wn wi wn wp wi wp wn wq wr wi wn wr wn wi wn wn wn wn wi wq wr wp t024 wq wr wi wn wr wn wi wn wp wi wq wr wi wn wr wn wi wn
    wn wn wp wi wi wq wr wi wn wr wn wi wn wp wi wp wn wq wr wi wn wr wn wi wn wn wn wn wi wi wq wr wi wn wr wn wi wn wp dne wq wr wi wn wr wn
    wi wn wp wi wq wr wi wn wr wn wi wn wn wn wp con34 mp mp $.
t038 $p |- ( -. ( ( -. -. p -> q ) -> ( r -> q ) ) -> -. p ) $=
  wp wp wn wn wq wi wr wq wi wi wi wp wn wn wq wi wr wq wi wi wn wp wn wi wp wq wr t003 wp wp wn wn wq wi wr wq wi wi con3 mp $.
t039 $p |- ( ( ( p -> q ) -> -. q ) -> ( ( p -> q ) -> ( p -> r ) ) ) $=
  wp wq wi wq wn wi wp wq wi wq wr wi wi wi wp wq wi wq wn wi wp wq wi wp wr wi wi wi wp wq wi wq wr t027 wp wq wi wq wn wi wp wq wi wp wq wi
    wi wi wp wq wi wq wn wi wp wq wi wq wr wi wi wi wp wq wi wq wn wi wp wq wi wp wr wi wi wi wi wp wq wi wq wn wi wp wq wi contra wp wq wi wq
    wn wi wp wq wi wp wq wr syldd mp mp $.
t040 $p |- ( -. ( ( p -> q ) -> ( -. q -> -. p ) ) -> r ) $=
  wp wq wi wq wn wp wn wi wi wr wi wr wi wp wq wi wq wn wp wn wi wi wn wr wi wp wq wr t036 wp wq wi wq wn wp wn wi wi wr wr jarl mp $.
t041 $p |- ( p -> ( ( p -> -. ( q -> -. r ) ) -> ( s -> r ) ) ) $=
  wq wr wn wi wn ws wr wi wi wp wp wq wr wn wi wn wi ws wr wi wi wi ws wr wi wn wq wr wn wi wi wq wr wn wi wn ws wr wi wi ws wr wq pm2.51 ws
    wr wi wq wr wn wi con1 mp wq wr wn wi wn ws wr wi wp t029 mp $.
t042 $p |- ( ( p -> q ) -> ( p -> -. ( ( r -> r ) -> -. q ) ) ) $=
  wp wr wr wi wi wp wq wi wp wr wr wi wq wn wi wn wi wi wp wr contra wp wr wr wi wq jc mp $.
t043 $p |- ( ( p -> ( p -> -. q ) ) -> ( q -> -. p ) ) $=
  wp wp wq wn wi wi wp wq wn wi wi wp wp wq wn wi wi wq wp wn wi wi wp wq wn pm2.43 wp wp wq wn wi wi wp wq con23 mp $.
t044 $p |- ( -. p -> ( ( -. q -> ( -. p -> p ) ) -> q ) ) $=
  wp wn wq wn wp wi wq wi wi wp wn wq wn wp wn wp wi wi wq wi wi wp wq mt3 wp wn wq wn wp wn wp wi wi wq wn wp wi wi wi wp wn wq wn wp wi wq
    wi wi wp wn wq wn wp wn wp wi wi wq wi wi wi wp wn wq wn wp t016 wp wn wq wn wp wn wp wi wi wq wn wp wi wq pm2.83 mp mp $.
t045 $p |- ( ( p -> q ) -> ( ( -. ( ( q -> r ) -> q ) -> p ) -> q ) ) $=
  wq wr wi wq wi wq wi wp wq wi wq wr wi wq wi wn wp wi wq wi wi wq wr peirce wq wr wi wq wi wq wp jao mp $.
t046 $p |- ( ( ( p -> q ) -> p ) -> ( ( p -> q ) -> q ) ) $=
  wp wp wq wi wi wn wp wq wi wi wp wq wi wi wp wq wi wp wi wp wq wi wq wi wi wp wq t012 wp wp wq wi wi wn wp wq wi wp wq loowoz mp $.
t047 $p |- ( ( -. p -> ( q -> -. q ) ) -> ( q -> p ) ) $=
  wq wq wq wn wi wn wi wp wn wq wq wn wi wi wq wp wi wi wq anidm2 wq wq wq wn wi wp nsyl2 mp $.
t048 $p |- -. -. ( ( p -> q ) -> ( -. q -> -. p ) ) $=
  wp wq wi wq wn wp wn wi wi wn wp wp wp wp wi wi wp wp wi wi wi wn wi wp wq wi wq wn wp wn wi wi wn wn wp wq wp wp wp wp wi wi wp wp wi wi wi
    wn t040 wp wp wp wp wi wi wp wp wi wi wi wp wq wi wq wn wp wn wi wi wn wp wp wp wp wi wi wp wp wi wi wi wn wi wp wq wi wq wn wp wn wi wi wn
    wn wi wp wp wp t016 wp wp wp wp wi wi wp wp wi wi wi wp wq wi wq wn wp wn wi wi wn mt2 mp mp $.
t049 $p |- ( ( -. ( p -> -. p ) -> q ) -> ( p -> q ) ) $=
  wp wp wp wn wi wn wi wp wp wn wi wn wq wi wp wq wi wi wp anidm2 wp wp wp wn wi wn wq imim1 mp $.
t050 $p |- ( -. p -> -. ( ( q -> -. -. q ) -> p ) ) $=
  wq wq wn wn wi wp wn wq wq wn wn wi wp wi wn wi wq notnot wq wq wn wn wi wp mth8 mp $.
t051 $p |- ( -. -. p -> ( -. ( q -> r ) -> p ) ) $=
  wp wn wn wp wn wq wr wi wi wi wp wn wn wq wr wi wn wp wi wi wp wn wq wn wi wp wn wq wr wi wi wi wp wn wn wp wn wq wr wi wi wi wp wn wq wr
    t027 wp wn wq wn wp wn wq wr wi wi jarl mp wp wn wn wp wq wr wi con13 mp $.
t052 $p |- ( -. -. ( ( -. p -> ( p -> q ) ) -> -. r ) -> -. r ) $=
  wp wn wp wq wi wi wp wn wp wq wi wi wr wn wi wn wn wr wn wi wp wq pm2.21 wp wn wp wq wi wi wr t006 mp $.
t053 $p |- ( ( ( p -> -. ( ( q -> r ) -> -. p ) ) -> q ) -> q ) $=
  wq wr wi wp wq wr wi wp wn wi wn wi wi wp wq wr wi wp wn wi wn wi wq wi wq wi wq wr wi wp pm3.2im wq wr wp wq wr wi wp wn wi wn wi looinv mp $.
t054 $p |- ( ( p -> q ) -> ( p -> ( ( -. -. q -> r ) -> r ) ) ) $=
  wq wq wn wn wr wi wr wi wi wp wq wi wp wq wn wn wr wi wr wi wi wi wq wr dni wq wq wn wn wr wi wr wi wp imim2 mp $.
t055 $p |- ( ( ( -. p -> -. q ) -> r ) -> ( ( q -> r ) -> r ) ) $=
  wp wp wi wq wn wi wn wq wi wp wn wq wn wi wr wi wq wr wi wr wi wi wp wp wi wq simpr wp wp wi wq wn wi wp wn wq wn wi wi wp wp wi wq wn wi wn
    wq wi wp wn wq wn wi wr wi wq wr wi wr wi wi wi wp wp wq wn jarl wp wp wi wq wn wi wp wn wq wn wi wq wr dilemma mp mp $.
t056 $p |- ( -. p -> -. -. ( p -> q ) ) $=
  wp wq wi wp wq wi wn wn wi wp wn wp wq wi wn wn wi wp wq wi notnot wp wq wp wq wi wn wn jarl mp $.
t057 $p |- ( -. ( ( -. p -> ( q -> p ) ) -> ( q -> p ) ) -> r ) $=
  wp wn wq wp wi wi wq wp wi wi wp wn wq wp wi wi wq wp wi wi wn wr wi wp wq clavius wp wn wq wp wi wi wq wp wi wi wr pm2.24 mp $.
t058 $p |- ( p -> ( q -> ( ( -. r -> s ) -> ( -. s -> r ) ) ) ) $=
  wq wr wn ws wi ws wn wr wi wi wi wp wq wr wn ws wi ws wn wr wi wi wi wi wq wr ws t017 wq wr wn ws wi ws wn wr wi wi wi wp ax-1 mp $.
t059 $p |- ( ( ( -. ( p -> q ) -> ( -. p -> r ) ) -> s ) -> s ) $=
  wp wq wi wn wp wn wr wi wi wp wq wi wn wp wn wr wi wi ws wi ws wi wp wq wr pm2.5 wp wq wi wn wp wn wr wi wi ws pm2.27 mp $.
t060 $p |- ( p -> ( q -> ( ( q -> r ) -> r ) ) ) $=
  wq wq wr wi wr wi wi wp wq wq wr wi wr wi wi wi wq wr pm2.27 wq wq wr wi wr wi wi wp ax-1 mp $.
t061 $p |- ( -. ( p -> q ) -> ( ( -. -. p -> r ) -> r ) ) $=
  wp wq wi wn wp wi wp wq wi wn wp wn wn wr wi wr wi wi wp wq simplim wp wq wi wn wp wr t054 mp $.
t062 $p |- ( ( p -> -. -. ( q -> r ) ) -> ( q -> ( p -> r ) ) ) $=
  wp wq wr wi wn wn wi wp wq wr wi wi wi wp wq wr wi wn wn wi wq wp wr wi wi wi wp wq wr wi dned wp wq wr wi wn wn wi wp wq wr com23 mp $.
t063 $p |- ( ( -. -. -. p -> p ) -> -. -. p ) $=
  wp wp wn wn wi wp wn wn wn wp wi wp wn wn wi wp notnot wp wp wn wn t030 mp $.
t064 $p |- ( p -> ( q -> ( r -> ( -. q -> s ) ) ) ) $=
  wq wn wq wr wp ws wi wi wi wi wp wq wr wq wn ws wi wi wi wi wq wr wp ws wi wi pm2.21 wq wn wq wr wp ws com14 mp $.
t065 $p |- ( -. p -> ( ( p -> ( -. q -> r ) ) -> ( p -> r ) ) ) $=
  wp wq wr wi wi wp wq wn wr wi wi wp wr wi wi wi wp wn wp wq wn wr wi wi wp wr wi wi wi wp wq wr pm2.61d wp wq wr wi wp wq wn wr wi wi wp wr
    wi wi jarl mp $.
t066 $p |- ( -. -. ( p -> -. ( q -> r ) ) -> ( p -> -. r ) ) $=
  wq wr wi wn wr wn wi wp wq wr wi wn wi wn wn wp wr wn wi wi wq wr simprim wp wq wr wi wn wi wn wn wp wq wr wi wn wi wi wq wr wi wn wr wn wi
    wp wq wr wi wn wi wn wn wp wr wn wi wi wi wp wq wr wi wn wi notnotr wp wq wr wi wn wi wn wn wp wq wr wi wn wr wn syl6 mp mp $.
t067 $p |- ( -. -. p -> -. ( ( q -> q ) -> -. p ) ) $=
  wp wn wn wp wi wp wn wn wq wq wi wp wn wi wn wi wp notnotr wp wn wn wp wq t042 mp $.
t068 $p |- ( p -> ( ( q -> ( q -> ( r -> s ) ) ) -> ( r -> p ) ) ) $=
  wr wq wq wr ws wi wi wi wp wp wi wi wi wp wq wq wr ws wi wi wi wr wp wi wi wi wr wq ws wp t018 wr wq wq wr ws wi wi wi wp wp com13 mp $.
t069 $p |- ( p -> ( q -> ( -. p -> r ) ) ) $=
  wp wp wp wp wi wi wi wp wp wi wp wp wp wi wi wi wi wp wq wp wn wr wi wi wi wp wp wp wp frege2 wp wp wp wp wi wi wi wp wp wi wp wp wp wi wi
    wi wi wp wq wr t064 mp $.
t070 $p |- ( -. p -> -. ( ( -. q -> -. -. ( q -> r ) ) -> p ) ) $=
  wq wn wq wr wi wn wn wi wp wn wq wn wq wr wi wn wn wi wp wi wn wi wq wr t056 wq wn wq wr wi wn wn wi wp mth8 mp $.
t071 $p |- ( ( p -> ( ( q -> q ) -> r ) ) -> ( p -> ( s -> r ) ) ) $=
  ws wq wq wi wi wp wq wq wi wr wi wi wp ws wr wi wi wi ws wq contra ws wq wq wi wp wr syl5 mp $.
t072 $p |- ( ( ( p -> q ) -> r ) -> ( -. r -> ( -. p -> s ) ) ) $=
  wp wp wi wp wn wp wn wi wi wp wq wi wr wi wr wn wp wn ws wi wi wi wp wp con3 wp wq wi wn wp wn ws wi wi wp wp wi wp wn wp wn wi wi wp wq wi
    wr wi wr wn wp wn ws wi wi wi wi wi wp wp wi wp wn wp wn wi wi wp wq wi wr wi wr wn wp wn ws wi wi wi wi wp wq wi wp wn ws wi wp wp wi wp wn
    wp wn wi wi wr pm2.82 wp wq ws wp wp wi wp wn wp wn wi wi wp wq wi wr wi wr wn wp wn ws wi wi wi wi t059 mp mp $.
t073 $p |- ( ( -. -. p -> q ) -> ( p -> q ) ) $=
  wp wp wi wn wp wn wp wi wi wp wn wn wq wi wp wq wi wi wi wp wn wn wq wi wp wq wi wi wp wp wn wn wq wi wp wp wi wn wp wn wp wi wi wq wi wi wi
    wp wp wi wn wp wn wp wi wi wp wn wn wq wi wp wq wi wi wi wp wq wp wp wi wn wp wn wp wi wi t003 wp wp wn wn wq wi wp wp wi wn wp wn wp wi wi
    wq com13 mp wp wp wp wp wn wn wq wi wp wq wi wi t059 mp $.
t074 $p |- ( ( p -> ( ( q -> ( r -> q ) ) -> s ) ) -> ( p -> s ) ) $=
  wq wr wq wi wi wp wq wr wq wi wi ws wi wi wp ws wi wi wq wr ax-1 wq wr wq wi wi wp ws t016 mp $.
t075 $p |- ( -. ( -. p -> -. p ) -> q ) $=
  wp wn wp wq wi wi wp wn wp wn wi wn wq wi wp wq pm2.21 wp wn wp wq impt mp $.
t076 $p |- ( ( ( p -> ( ( -. q -> q ) -> q ) ) -> r ) -> r ) $=
  wp wq wn wq wi wq wi wi wp wq wn wq wi wq wi wi wr wi wr wi wp wq t015 wp wq wn wq wi wq wi wi wr pm2.27 mp $.
t077 $p |- ( -. ( ( -. p -> q ) -> ( -. q -> p ) ) -> -. r ) $=
  wr wp wn wq wi wq wn wp wi wi wi wp wn wq wi wq wn wp wi wi wn wr wn wi wr wp wq t017 wr wp wn wq wi wq wn wp wi wi con3 mp $.
t078 $p |- ( ( -. p -> ( q -> -. q ) ) -> ( r -> ( q -> p ) ) ) $=
  wp wn wq wq wn wi wi wq wp wi wi wp wn wq wq wn wi wi wr wq wp wi wi wi wp wq t047 wp wn wq wq wn wi wi wq wp wi wr a1d mp $.
t079 $p |- ( ( p -> -. p ) -> ( p -> ( q -> r ) ) ) $=
  wp wq wp wn wr wi wi wi wp wp wn wi wp wq wr wi wi wi wp wq wr t069 wp wq wp wn wr frege2 mp $.
t080 $p |- ( ( -. p -> ( ( q -> r ) -> q ) ) -> ( -. q -> p ) ) $=
  wp wn wq wr wi wq wi wi wp wn wq wi wi wp wn wq wr wi wq wi wi wq wn wp wi wi wp wn wq wr peirced wp wn wq wr wi wq wi wi wp wq con13 mp $.
t081 $p |- ( ( p -> q ) -> ( -. q -> -. ( -. p -> q ) ) ) $=
  wp wq wi wp wn wq wi wq wi wi wp wq wi wq wn wp wn wq wi wn wi wi wp wq pm2.61 wp wq wi wp wn wq wi wq con34 mp $.
t082 $p |- -. -. ( p -> ( ( -. ( p -> -. p ) -> q ) -> q ) ) $=
  wp wp wp wn wi wn wq wi wq wi wi wp wp wp wn wi wn wq wi wq wi wi wn wn wp wp wn wi wn wp wp wn wi wn wq wi wq wi wi wp wp wp wn wi wn wq wi
    wq wi wi wp wp wn wi wn wq pm2.27 wp wp wp wn wi wn wq wi wq wi t049 mp wp wp wp wn wi wn wq wi wq wi wi notnot mp $.
t083 $p |- ( -. ( -. ( ( p -> -. q ) -> -. q ) -> -. p ) -> r ) $=
  wp wq wn wi wq wn wi wn wp wn wi wp wq wn wi wq wn wi wn wp wn wi wn wr wi wp wq t001 wp wq wn wi wq wn wi wn wp wn wi wr pm2.24 mp $.
t084 $p |- ( ( p -> q ) -> -. -. ( ( ( p -> r ) -> q ) -> q ) ) $=
  wp wq wi wp wr wi wq wi wq wi wi wp wq wi wp wr wi wq wi wq wi wn wn wi wp wq wr tarski2 wp wq wi wp wr wi wq wi wq wi dnid mp $.
t085 $p |- ( -. p -> -. -. ( -. ( q -> r ) -> ( -. q -> s ) ) ) $=
  wq wr wi wn wq wn ws wi wi wp wi wp wi wp wn wq wr wi wn wq wn ws wi wi wn wn wi wq wr ws wp t059 wq wr wi wn wq wn ws wi wi wp wi wp wi wq
    wr wi wn wq wn ws wi wi wn wp wi wi wq wr wi wn wq wn ws wi wi wp wi wp wi wp wn wq wr wi wn wq wn ws wi wi wn wn wi wi wq wr wi wn wq wn ws
    wi wi wp wp jarl wq wr wi wn wq wn ws wi wi wp wi wp wi wq wr wi wn wq wn ws wi wi wn wp con34 mp mp $.
t086 $p |- ( p -> ( q -> ( ( p -> ( q -> r ) ) -> r ) ) ) $=
  wp wp wq wr wi wi wq wr wi wi wi wp wq wp wq wr wi wi wr wi wi wi wp wq wr wi pm2.27 wp wp wq wr wi wi wq wr com23 mp $.
t087 $p |- -. -. ( -. -. ( p -> q ) -> ( ( -. q -> p ) -> q ) ) $=
  wp wq wi wq wn wp wi wq wi wi wp wq wi wn wn wq wn wp wi wq wi wi wn wn wp wq t030 wp wq wi wq wn wp wi wq wi t011 mp $.
t088 $p |- ( ( p -> -. q ) -> ( p -> ( -. -. q -> r ) ) ) $=
  wq wn wq wn wn wr wi wi wp wq wn wi wp wq wn wn wr wi wi wi wq wr wi wq wn wn wr wi wi wq wn wq wn wn wr wi wi wq wr dne wq wr wq wn wn wr
    wi jarl mp wq wn wq wn wn wr wi wp imim2 mp $.
t089 $p |- ( p -> -. ( ( q -> ( r -> ( -. q -> s ) ) ) -> -. p ) ) $=
  wq wr wq wn ws wi wi wi wp wq wr wq wn ws wi wi wi wp wn wi wn wi wp wp wp wi wi wp wp wp wi wi wi wn wn wq wr wq wn ws wi wi wi wp wp wp
    t035 wp wp wp wi wi wp wp wp wi wi wi wn wn wq wr ws t064 mp wq wr wq wn ws wi wi wi wp pm3.2im mp $.
t090 $p |- -. -. ( -. -. p -> ( q -> ( ( q -> r ) -> r ) ) ) $=
  wp wq wq wr wi wr wi wi wi wp wn wn wq wq wr wi wr wi wi wi wn wn wp wq wr t060 wp wq wq wr wi wr wi wi t011 mp $.
t091 $p |- ( ( p -> q ) -> ( p -> ( ( p -> ( q -> r ) ) -> r ) ) ) $=
  wp wq wp wq wr wi wi wr wi wi wi wp wq wi wp wp wq wr wi wi wr wi wi wi wp wq wr t086 wp wq wp wq wr wi wi wr wi ax-2 mp $.
t092 $p |- ( -. ( -. ( p -> q ) -> ( -. p -> r ) ) -> s ) $=
  wp wq wi wn wp wn wr wi wi wp wq wi wn wp wn wr wi wi wn ws wi wp wq wr pm2.5 wp wq wi wn wp wn wr wi wi ws pm2.24 mp $.
t093 $p |- ( p -> ( -. q -> ( ( -. r -> ( -. q -> q ) ) -> r ) ) ) $=
  wq wn wr wn wq wn wq wi wi wr wi wi wp wq wn wr wn wq wn wq wi wi wr wi wi wi wq wr t044 wq wn wr wn wq wn wq wi wi wr wi wi wp ax-1 mp $.
t094 $p |- ( ( p -> q ) -> ( ( ( r -> ( s -> r ) ) -> p ) -> q ) ) $=
  wp wq wi wr ws wr wi wi wr ws wr wi wi wp wi wq wi wi wi wp wq wi wr ws wr wi wi wp wi wq wi wi wp wq wr ws wr wi wi t029 wp wq wi wr ws wr
    ws wr wi wi wp wi wq wi t074 mp $.
t095 $p |- ( -. ( ( p -> -. q ) -> -. q ) -> ( p -> r ) ) $=
  wp wq wn wi wq wn wi wn wp wn wi wn wr wi wp wq wn wi wq wn wi wn wp wr wi wi wp wq wr t083 wp wq wn wi wq wn wi wn wp wr expt mp $.
t096 $p |- ( p -> -. ( ( q -> q ) -> -. ( r -> ( -. p -> s ) ) ) ) $=
  wp wr wp wn ws wi wi wi wp wq wq wi wr wp wn ws wi wi wn wi wn wi wp wp wp wp wi wi wi wp wp wp wi wi wi wp wr wp wn ws wi wi wi wp wp wp
    pm2.43a wp wp wp wp wi wi wi wp wp wp wi wi wi wp wr ws t064 mp wp wr wp wn ws wi wi wq t042 mp $.
t097 $p |- ( -. ( p -> -. ( ( q -> q ) -> r ) ) -> ( s -> r ) ) $=
  wp wq wq wi wr wi wn wi wn wq wq wi wr wi wi wp wq wq wi wr wi wn wi wn ws wr wi wi wp wq wq wi wr wi simpr wp wq wq wi wr wi wn wi wn wq wr
    ws t071 mp $.
t098 $p |- ( p -> ( ( p -> ( ( q -> r ) -> q ) ) -> q ) ) $=
  wp wq wr wi wq wi wi wp wq wi wi wp wp wq wr wi wq wi wi wq wi wi wp wq wr peirced wp wq wr wi wq wi wi wp wq com12 mp $.
t099 $p |- ( p -> ( ( q -> -. r ) -> ( q -> ( -. -. r -> s ) ) ) ) $=
  wq wr wn wi wq wr wn wn ws wi wi wi wp wq wr wn wi wq wr wn wn ws wi wi wi wi wq wr ws t088 wq wr wn wi wq wr wn wn ws wi wi wi wp ax-1 mp $.
t100 $p |- ( ( p -> -. ( q -> r ) ) -> ( p -> -. -. ( s -> q ) ) ) $=
  wq wr wi wn ws wq wi wn wn wi wp wq wr wi wn wi wp ws wq wi wn wn wi wi wq wr ws t032 wq wr wi wn ws wq wi wn wn wp imim2 mp $.
t101 $p |- ( p -> ( -. q -> ( q -> r ) ) ) $=
  wq wq wn wp wr wi wi wi wp wq wn wq wr wi wi wi wq wp wr wi pm2.24 wq wq wn wp wr com13 mp $.
t102 $p |- ( ( -. ( -. p -> -. q ) -> ( q -> p ) ) -> ( q -> p ) ) $=
  wp wn wq wn wi wq wp wi wi wp wn wq wn wi wn wq wp wi wi wq wp wi wi wp wq ax-3 wp wn wq wn wi wq wp wi pm2.61 mp $.
t103 $p |- ( p -> ( q -> ( r -> p ) ) ) $=
  wq wp wr wp wi wi wi wp wq wr wp wi wi wi wi wp wq wr wp wi wi wi wq wp wr wp wi com12 wq wp wr wp wi wi wi wp wq wr wp wi wi wi wi wp wr wp
    wi wi wq wp wr wp wi wi wi wi wp wq wr wp wi wi wi wi wi wq wp wr wp wi wi wi wp wq wr wp wi wi wi wi wp wq wr wp wi wi wi wi wq wp wr wp wi
    wi wi wp wq wr wp wi wi wi wp wr t094 wq wp wr wp wi wi wi wp wq wr wp wi wi wi wi wp wr wp wi wi wq wp wq wr wp wi wi wi t074 mp mp $.
t104 $p |- ( -. ( -. -. ( ( p -> q ) -> -. r ) -> -. r ) -> p ) $=
  wp wn wp wq wi wr wn wi wn wn wr wn wi wi wp wq wi wr wn wi wn wn wr wn wi wn wp wi wp wq wr t031 wp wp wp wi wi wp wp wp wp wi wi wi wp wp
    wp wi wi wi wi wp wn wp wq wi wr wn wi wn wn wr wn wi wi wp wq wi wr wn wi wn wn wr wn wi wn wp wi wi wp wp wp wp mpdd wp wp wp wi wi wp wp
    wp wp wi wi wi wp wp wp wi wi wi wi wp wp wq wi wr wn wi wn wn wr wn wi t017 mp mp $.
t105 $p |- ( -. ( -. -. p -> q ) -> -. ( p -> q ) ) $=
  wp wq wi wp wn wn wq wi wn wn wi wp wn wn wq wi wn wp wq wi wn wi wp wq t011 wp wq wi wp wn wn wq wi wn con2 mp $.
t106 $p |- ( p -> ( ( -. -. ( q -> q ) -> r ) -> r ) ) $=
  wp wq wq wi wi wp wq wq wi wn wn wr wi wr wi wi wp wp wn wi wn wq wi wp wq wi wi wp wq wq wi wi wp wq t049 wp wp wn wi wn wq wp wq pm2.86 mp
    wp wq wq wi wr t054 mp $.
t107 $p |- ( -. ( p -> ( q -> ( ( p -> ( q -> r ) ) -> r ) ) ) -> s ) $=
  wp wq wp wq wr wi wi wr wi wi wi wp wq wp wq wr wi wi wr wi wi wi wn ws wi wp wq wr t086 wp wq wp wq wr wi wi wr wi wi wi ws pm2.24 mp $.
t108 $p |- ( ( -. p -> -. -. p ) -> p ) $=
  wp wn wn wp wi wp wn wp wn wn wi wp wi wp notnotr wp wn wn wp t030 mp $.
t109 $p |- ( p -> -. ( ( q -> ( ( -. q -> r ) -> q ) ) -> -. p ) ) $=
  wq wq wn wr wi wq wi wi wp wq wq wn wr wi wq wi wi wp wn wi wn wi wr wq wi wq wn wr wi wq wi wi wq wq wn wr wi wq wi wi wr wq t030 wr wq wq
    wn wr wi wq wi jarr mp wq wq wn wr wi wq wi wi wp pm3.2im mp $.
t110 $p |- ( ( p -> q ) -> ( p -> -. -. ( -. q -> r ) ) ) $=
  wq wn wr wi wn wq wn wi wp wq wi wp wq wn wr wi wn wn wi wi wq wn wr simplim wq wn wr wi wn wq wp nsyl3 mp $.
t111 $p |- ( ( -. -. ( p -> p ) -> q ) -> q ) $=
  wp wp wn wi wn wp wi wp wp wi wn wn wq wi wq wi wp wp simpr wp wp wn wi wn wp wi wp wq t106 mp $.
t112 $p |- ( p -> -. ( -. -. ( q -> q ) -> -. p ) ) $=
  wq wq wi wn wn wp wq wq wi wn wn wp wn wi wn wi wi wp wq wq wi wn wn wp wn wi wn wi wq wq wi wn wn wp pm3.2im wp wn wp wp wn wi wi wp wp wp
    wi wi wi wq wq wi wn wn wp wq wq wi wn wn wp wn wi wn wi wi wp wq wq wi wn wn wp wn wi wn wi wi wp wp wp t078 wp wn wp wp wn wi wi wp wp wp
    wi wi wi wq wp wq wq wi wn wn wp wn wi wn wi t106 mp mp $.
t113 $p |- -. -. -. -. ( -. ( p -> q ) -> ( -. p -> r ) ) $=
  wp wq wi wn wp wn wr wi wi wn wn wn wn wn wp wq wi wn wp wn wr wi wi wn wn wi wp wq wi wn wp wn wr wi wi wn wn wn wn wp wq wi wn wp wn wr wi
    wi wn wn wn wn wp wq wr t085 wp wq wi wn wp wn wr wi wi wn wn t063 mp $.
t114 $p |- ( p -> ( -. q -> -. -. ( q -> r ) ) ) $=
  wq wn wq wr wi wn wn wi wp wq wn wq wr wi wn wn wi wi wq wr t056 wq wn wq wr wi wn wn wi wp ax-1 mp $.
t115 $p |- ( ( p -> -. ( ( -. q -> q ) -> q ) ) -> -. p ) $=
  wp wq wn wq wi wq wi wi wp wq wn wq wi wq wi wn wi wp wn wi wp wq t015 wp wq wn wq wi wq wi pm2.65 mp $.
t116 $p |- ( p -> ( -. ( ( q -> -. r ) -> -. r ) -> ( q -> s ) ) ) $=
  wq wr wn wi wr wn wi wn wq wp ws wi wi wi wp wq wr wn wi wr wn wi wn wq ws wi wi wi wq wr wp ws wi t095 wq wr wn wi wr wn wi wn wq wp ws
    com3r mp $.
t117 $p |- ( -. -. ( ( p -> q ) -> p ) -> p ) $=
  wp wq wi wp wi wp wi wp wq wi wp wi wn wn wp wi wp wq peirce wp wq wi wp wi wp dne mp $.
t118 $p |- ( p -> ( ( p -> ( -. -. q -> r ) ) -> ( q -> r ) ) ) $=
  wq wn wn wr wi wq wr wi wi wp wp wq wn wn wr wi wi wq wr wi wi wi wq wr t073 wq wn wn wr wi wq wr wi wp t029 mp $.
t119 $p |- ( p -> ( ( ( q -> -. r ) -> s ) -> ( -. s -> r ) ) ) $=
  wq wr wn wi wn wr wi wp wq wr wn wi ws wi ws wn wr wi wi wi wq wr simpr wq wr wn wi wr wp ws pm2.82 mp $.
t120 $p |- ( ( ( p -> ( q -> ( r -> q ) ) ) -> s ) -> s ) $=
  wp wq wr wq wi wi wi ws wi wq wr wq wi wi wp wq wr wq wi wi wi wi ws wi wi wp wq wr wq wi wi wi ws wi ws wi wp wq wr wq wi wi wi ws wq wr
    t094 wp wq wr wq wi wi wi ws wi wq wr wq wi wi wp ws t074 mp $.
t121 $p |- ( ( -. ( p -> -. -. q ) -> ( p -> q ) ) -> ( p -> q ) ) $=
  wp wq wn wn wi wp wq wi wi wp wq wn wn wi wn wp wq wi wi wp wq wi wi wp wq dned wp wq wn wn wi wp wq wi pm2.61 mp $.
t122 $p |- ( ( -. p -> ( q -> -. q ) ) -> ( q -> ( r -> p ) ) ) $=
  wp wn wq wq wn wi wi wq wp wi wi wp wn wq wq wn wi wi wq wr wp wi wi wi wp wq t047 wp wn wq wq wn wi wi wq wp wr a1dd mp $.
t123 $p |- ( ( -. -. ( p -> ( q -> p ) ) -> r ) -> r ) $=
  wp wq wp wi wi wp wq wp wi wi wn wn wr wi wr wi wp wq ax-1 wp wq wp wi wi wr dni mp $.
t124 $p |- ( p -> ( ( -. -. p -> ( ( q -> r ) -> q ) ) -> q ) ) $=
  wp wn wn wp wn wn wq wr wi wq wi wi wq wi wi wp wp wn wn wq wr wi wq wi wi wq wi wi wp wn wn wq wr t098 wp wp wn wn wq wr wi wq wi wi wq wi
    t073 mp $.
t125 $p |- ( ( p -> q ) -> ( p -> ( -. ( r -> p ) -> s ) ) ) $=
  wr wp wi wq wr wp wi wn ws wi wi wi wp wq wi wp wr wp wi wn ws wi wi wi wp wp wp wi wi wp wp wp wp wi wi wi wi wr wp wi wq wr wp wi wn ws wi
    wi wi wp wp wp wp a1dd wp wp wp wi wi wp wp wp wp wi wi wi wi wr wp wi wq ws t064 mp wr wp wq wr wp wi wn ws wi loowoz mp $.
t126 $p |- ( p -> ( q -> ( -. q -> r ) ) ) $=
  wp wn wp wi wp wi wp wq wq wn wr wi wi wi wp pm2.18 wq wq wn wr wi wi wp wn wp wi wp wi wp wq wq wn wr wi wi wi wi wq wr pm2.24 wq wq wn wr
    wi wi wp wn wp wi wp wi wp t103 mp mp $.
t127 $p |- ( -. p -> -. ( ( q -> ( r -> ( s -> q ) ) ) -> p ) ) $=
  wq wr ws wq wi wi wi wp wn wq wr ws wq wi wi wi wp wi wn wi wq wr ws t103 wq wr ws wq wi wi wi wp mth8 mp $.
t128 $p |- ( -. p -> ( ( q -> r ) -> ( p -> -. q ) ) ) $=
  wp wr wn wi wq wr wi wp wq wn wi wi wi wp wn wq wr wi wp wq wn wi wi wi wp wr wq nsyl wp wr wn wq wr wi wp wq wn wi wi jarl mp $.
t129 $p |- ( p -> -. -. ( -. ( -. q -> -. ( p -> q ) ) -> r ) ) $=
  wp wq wn wp wq wi wn wi wi wp wq wn wp wq wi wn wi wn wr wi wn wn wi wp wq mth8 wp wq wn wp wq wi wn wi wr t110 mp $.
t130 $p |- ( p -> ( -. -. -. q -> -. q ) ) $=
  wq wn wn wn wq wn wi wp wq wn wn wn wq wn wi wi wq notnotnot wq wn wn wn wq wn wi wp ax-1 mp $.
t131 $p |- ( p -> ( -. ( ( ( q -> r ) -> q ) -> q ) -> s ) ) $=
  wq wr wi wq wi wq wi wp wq wr wi wq wi wq wi wn ws wi wi wq wr peirce wq wr wi wq wi wq wi wp ws t069 mp $.
t132 $p |- ( p -> ( -. ( q -> q ) -> ( r -> ( s -> ( t -> u ) ) ) ) ) $=
  wr wt ws wu wi wi wi wr ws wt wu wi wi wi wi wp wq wq wi wn wr ws wt wu wi wi wi wi wi wr wt ws wu com23 wr wt ws wu wi wi wi wr ws wt wu wi
    wi wi wi wq wq wi wq wq wi wn wr ws wt wu wi wi wi wi wi wi wr wt ws wu wi wi wi wr ws wt wu wi wi wi wi wp wq wq wi wn wr ws wt wu wi wi wi
    wi wi wi wr wt ws wu wi wi wr ws wt wu wi wi wi wq wq wi t021 wr wt ws wu wi wi wi wr ws wt wu wi wi wi wi wq wq wq wi wn wr ws wt wu wi wi
    wi wi wp t071 mp mp $.
t133 $p |- ( ( p -> -. q ) -> ( q -> -. ( -. -. q -> p ) ) ) $=
  wp wq wn wi wq wn wn wp wi wq wn wi wi wp wq wn wi wq wq wn wn wp wi wn wi wi wp wq wn t030 wp wq wn wi wq wn wn wp wi wq con23 mp $.
t134 $p |- ( p -> ( ( p -> q ) -> ( ( p -> ( q -> r ) ) -> r ) ) ) $=
  wp wq wr wi wi wp wq wi wp wr wi wi wi wp wp wq wi wp wq wr wi wi wr wi wi wi wp wq wr ax-2 wp wq wr wi wi wp wq wi wp wr com13 mp $.
t135 $p |- ( p -> ( ( p -> -. p ) -> ( q -> r ) ) ) $=
  wp wp wn wi wp wq wr wi wi wi wp wp wp wn wi wq wr wi wi wi wp wq wr t079 wp wp wn wi wp wq wr wi com12 mp $.
t136 $p |- ( -. -. p -> ( q -> ( -. p -> r ) ) ) $=
  wp wp wn wp wi wp wi wn wi wp wn wi wp wn wn wp wn wr wi wi wi wp wn wn wq wp wn wr wi wi wi wp wp wn wp wi wp wi wn wp wn wr t072 wp wp wn
    wp wi wp wi wn wi wp wn wi wp wp wn wp wi wp wi wn wi wp wn wi wp wn wn wp wn wr wi wi wi wp wn wn wq wp wn wr wi wi wi wi wp wp t115 wp wp
    wn wp wi wp wi wn wi wp wn wi wp wn wn wp wn wr wi wq t033 mp mp $.
t137 $p |- ( p -> -. ( ( q -> q ) -> -. ( r -> ( s -> p ) ) ) ) $=
  wp wr ws wp wi wi wi wp wq wq wi wr ws wp wi wi wn wi wn wi wp wr ws t103 wp wr ws wp wi wi wq t042 mp $.
t138 $p |- ( ( ( p -> -. q ) -> r ) -> ( -. r -> q ) ) $=
  wp wq wn wi wr wi wq wn wr wi wi wp wq wn wi wr wi wr wn wq wi wi wp wq wn wr jarr wp wq wn wi wr wi wq wr con13 mp $.
t139 $p |- ( ( ( p -> ( q -> p ) ) -> ( r -> -. r ) ) -> -. r ) $=
  wr wr wn wi wr wn wi wp wq wp wi wi wr wr wn wi wi wr wn wi wr pm2.01 wr wr wn wi wr wn wp wq t094 mp $.
t140 $p |- ( p -> ( ( p -> -. p ) -> q ) ) $=
  wq wn wp wp wn wi wi wp wq wi wi wp wp wp wn wi wq wi wi wq wp t047 wp wq wn wp wp wn wi wi wp wq wi wi wp wp wn wi wq wi wi wi wq wn wp wp
    wn wi wi wp wq wi wi wp wp wp wn wi wq wi wi wi wp wq wn wp wp wn wi wq pm2.8 wp wq wn wp wp wn wi wi wp wq wi wi wp wp wn wi wq wi com12 mp
    mp $.
t141 $p |- ( p -> ( -. -. -. ( q -> r ) -> -. -. q ) ) $=
  wp wq wn wq wr wi wn wn wi wi wp wq wr wi wn wn wn wq wn wn wi wi wp wq wr t114 wp wq wn wq wr wi wn wn con34 mp $.
t142 $p |- ( ( p -> q ) -> ( ( q -> r ) -> ( s -> ( p -> r ) ) ) ) $=
  ws wp wq wi wi wq wr wi ws wp wr wi wi wi wi wp wq wi wq wr wi ws wp wr wi wi wi wi ws wp wq wr syl6 ws wp wq wi wq wr wi ws wp wr wi wi wi
    jarr mp $.
t143 $p |- ( ( -. p -> q ) -> ( r -> ( -. q -> p ) ) ) $=
  wp wn wq wi wr wp wn wq wi wq wn wp wi wi wi wi wp wn wq wi wr wq wn wp wi wi wi wp wn wq wi wr wp wq t058 wp wn wq wi wr wq wn wp wi
    pm2.43a mp $.
t144 $p |- ( -. ( p -> p ) -> ( q -> ( r -> ( s -> t ) ) ) ) $=
  wp wp wn wp wp wn wn wi wi wi wp wp wi wn wq wr ws wt wi wi wi wi wp wp wi wp wp wn wn wi wi wp wp wn wp wp wn wn wi wi wi wp wp dnid wp wp
    wp wp wn wn wi wp t021 mp wp wp wn wp wp wn wn wi wi wi wp wq wr ws wt t132 mp $.
t145 $p |- ( -. ( ( -. p -> p ) -> -. q ) -> -. ( p -> -. q ) ) $=
  wp wn wp wi wp wi wp wn wp wi wq wn wi wn wp wq wn wi wn wi wp wp wp wn wi wp wp wi wi wi wp wn wp wi wp wi wp wp wp t135 wp wp wp wn wi wp
    wp wi wi wi wp t015 mp wp wn wp wi wp wq andir mp $.
t146 $p |- ( p -> ( ( p -> ( -. -. ( q -> q ) -> r ) ) -> r ) ) $=
  wq wq wi wn wn wr wi wr wi wp wp wq wq wi wn wn wr wi wi wr wi wi wq wr t111 wq wq wi wn wn wr wi wr wp t029 mp $.
t147 $p |- ( ( -. ( p -> q ) -> -. p ) -> ( -. ( p -> q ) -> r ) ) $=
  wp wq wi wn wp wn wr wi wi wp wq wi wn wp wn wi wp wq wi wn wr wi wi wp wq wr pm2.5 wp wq wi wn wp wn wr ax-2 mp $.
t148 $p |- ( -. ( p -> ( ( p -> q ) -> q ) ) -> ( r -> s ) ) $=
  wp ws wn wi wp wp wq wi wq wi wi wi wp wp wq wi wq wi wi wn wr ws wi wi wp ws wn wi wp wq t060 wp ws wn wi wp wp wq wi wq wi wi wi wp wp wq
    wi wq wi wi wn ws wi wi wp ws wn wi wp wp wq wi wq wi wi wi wp wp wq wi wq wi wi wn wr ws wi wi wi wp ws wp wp wq wi wq wi wi t138 wp ws wn
    wi wp wp wq wi wq wi wi wi wp wp wq wi wq wi wi wn ws wr a1dd mp mp $.
t149 $p |- ( p -> -. -. ( ( q -> r ) -> ( -. r -> -. q ) ) ) $=
  wq wr wi wr wn wq wn wi wi wn wq wr wi wr wn wq wn wi wi wn wp wn wi wi wp wq wr wi wr wn wq wn wi wi wn wn wi wq wr wq wr wi wr wn wq wn wi
    wi wn wp wn wi t040 wq wr wi wr wn wq wn wi wi wn wp t043 mp $.
t150 $p |- ( ( -. -. ( p -> q ) -> -. q ) -> -. q ) $=
  wp wq wi wn wq wn wi wp wq wi wn wn wq wn wi wq wn wi wp wq simprim wp wq wi wn wq wn pm2.61 mp $.
t151 $p |- ( ( ( -. p -> ( p -> q ) ) -> r ) -> ( ( r -> s ) -> s ) ) $=
  wp wn wp wq wi wi wp wn wp wq wi wi wr wi wr ws wi ws wi wi wp wp wi wn wp wp wi wn wn wi wp wn wp wq wi wi wp wp wp t032 wp wp wi wn wp wp
    wi wn wn wi wp wq t101 mp wp wn wp wq wi wi wr ws embant mp $.
t152 $p |- ( p -> ( -. ( -. ( q -> r ) -> ( s -> -. r ) ) -> t ) ) $=
  wp wq wr wi wn ws wr wn wi wi wn wp wt wi wi wi wp wq wr wi wn ws wr wn wi wi wn wt wi wi wq wr wi wn ws wr wn wi wi wp wq wr wi wn ws wr wn
    wi wi wn wp wt wi wi wi wq wr ws pm2.51 wq wr wi wn ws wr wn wi wi wp wp wt wi t069 mp wp wq wr wi wn ws wr wn wi wi wn wt pm2.43a mp $.
t153 $p |- ( ( p -> ( -. q -> ( r -> q ) ) ) -> ( p -> ( r -> q ) ) ) $=
  wp wq wr wq wi wi wi wp wq wn wr wq wi wi wi wp wr wq wi wi wi wi wp wq wn wr wq wi wi wi wp wr wq wi wi wi wp wq wr wq wi pm2.61d wp wq wr
    wp wq wn wr wq wi wi wi wp wr wq wi wi wi t120 mp $.
t154 $p |- ( -. ( p -> -. -. q ) -> ( q -> r ) ) $=
  wp wq wn wn wi wn wq wn wi wp wq wn wn wi wn wq wr wi wi wp wq wn simpr wp wq wn wn wi wn wq wr t027 mp $.
t155 $p |- ( p -> ( ( ( q -> ( ( -. r -> r ) -> r ) ) -> s ) -> s ) ) $=
  wp wp wi wp wp wi wp wp wp wn wi wn wi wi wi wp wq wr wn wr wi wr wi wi ws wi ws wi wi wp wp wp jc wq wr wn wr wi wr wi wi ws wi ws wi wp wp
    wi wp wp wi wp wp wp wn wi wn wi wi wi wp wq wr wn wr wi wr wi wi ws wi ws wi wi wi wq wr ws t076 wq wr wn wr wi wr wi wi ws wi ws wi wp wp
    wi wp wp wp wn wi wn t068 mp mp $.
t156 $p |- ( p -> ( q -> ( r -> ( s -> q ) ) ) ) $=
  wq wr ws wq wi wi wi wp wq wr ws wq wi wi wi wi wq wr ws t103 wq wr ws wq wi wi wi wp ax-1 mp $.
t157 $p |- ( ( p -> q ) -> -. -. ( p -> -. -. ( -. q -> r ) ) ) $=
  wp wq wi wp wq wn wr wi wn wn wi wi wp wq wi wp wq wn wr wi wn wn wi wn wn wi wp wq wr t110 wp wq wi wp wq wn wr wi wn wn wi dnid mp $.
t158 $p |- ( -. ( -. ( p -> q ) -> ( r -> -. q ) ) -> s ) $=
  wp wn wp wp wi wi wp wi wp wp wi wp wi wi wp wq wi wn wr wq wn wi wi wn ws wi wp wp wp wp t151 wp wn wp wp wi wi wp wi wp wp wi wp wi wi wp
    wq wr ws t152 mp $.
t159 $p |- ( p -> ( ( ( q -> p ) -> r ) -> r ) ) $=
  wq wp wi wr wi wp wr wi wi wp wq wp wi wr wi wr wi wi wq wp wr jarr wq wp wi wr wi wp wr com12 mp $.
t160 $p |- ( -. -. -. ( p -> q ) -> -. -. p ) $=
  wp wp wp wp wn wi wn wi wi wp wq wi wn wn wn wp wn wn wi wp wp pm3.2im wp wp wp wp wn wi wn wi wi wp wq t141 mp $.
t161 $p |- ( p -> ( q -> ( -. ( r -> ( ( r -> s ) -> s ) ) -> t ) ) ) $=
  wr wr ws wi ws wi wi wn wq wp wt wi wi wi wp wq wr wr ws wi ws wi wi wn wt wi wi wi wr ws wq wp wt wi t148 wr wr ws wi ws wi wi wn wq wp wt
    com13 mp $.
t162 $p |- ( p -> -. -. ( q -> ( r -> r ) ) ) $=
  wp wr wr wi wp wp wn wp wi wi wn wi wn wi wp wq wr wr wi wi wn wn wi wp wr wp wp t096 wp wr wr wi wp wp wn wp wi wi wn wq t100 mp $.
t163 $p |- ( ( -. ( ( p -> q ) -> r ) -> ( q -> r ) ) -> ( q -> r ) ) $=
  wp wq wi wr wi wq wr wi wi wp wq wi wr wi wn wq wr wi wi wq wr wi wi wp wq wr jarr wp wq wi wr wi wq wr wi pm2.61 mp $.
t164 $p |- ( p -> ( q -> ( r -> -. ( p -> -. q ) ) ) ) $=
  wp wq wp wq wn wi wn wi wi wp wq wr wp wq wn wi wn wi wi wi wp wq pm3.2im wp wq wp wq wn wi wn wr a1dd mp $.
t165 $p |- ( p -> ( -. ( q -> p ) -> r ) ) $=
  wp wp wn wp wi wp wi wi wp wq wp wi wn wr wi wi wi wp wq wp wi wn wr wi wi wp wp wn wp wi wp wi wq wr t125 wp wp wp wq wp wi wn wr wi wi
    t076 mp $.
t166 $p |- ( ( p -> q ) -> ( -. ( r -> s ) -> ( -. r -> q ) ) ) $=
  wr ws wi wn wr wn wp wi wi wp wq wi wr ws wi wn wr wn wq wi wi wi wi wp wq wi wr ws wi wn wr wn wq wi wi wi wr ws wi wn wr wn wp wq syl6 wr
    ws wp wp wq wi wr ws wi wn wr wn wq wi wi wi t059 mp $.
t167 $p |- ( p -> ( q -> ( ( -. -. p -> ( q -> r ) ) -> r ) ) ) $=
  wp wn wn wq wp wn wn wq wr wi wi wr wi wi wi wp wq wp wn wn wq wr wi wi wr wi wi wi wp wn wn wq wr t086 wp wq wp wn wn wq wr wi wi wr wi wi
    t073 mp $.
t168 $p |- ( p -> ( -. ( q -> -. r ) -> -. ( r -> -. q ) ) ) $=
  wq wr wn wi wn wr wq wn wi wn wi wp wq wr wn wi wn wr wq wn wi wn wi wi wq wr ancom wq wr wn wi wn wr wq wn wi wn wi wp ax-1 mp $.
t169 $p |- ( -. ( p -> ( q -> ( ( q -> r ) -> r ) ) ) -> s ) $=
  wq wq wr wi wr wi wi wp wq wq wr wi wr wi wi wi wn ws wi wq wr pm2.27 wq wq wr wi wr wi wi wp wp wp wi wi wi wq wq wr wi wr wi wi wp wq wq
    wr wi wr wi wi wi wn ws wi wi wi wq wq wr wi wr wi wi wp wq wq wr wi wr wi wi wi wn ws wi wi wq wq wr wi wr wi wi wp wp wp wi wi wp ws t125
    wq wq wr wi wr wi wi wp wp wq wq wr wi wr wi wi wp wq wq wr wi wr wi wi wi wn ws wi wi t120 mp mp $.
t170 $p |- ( p -> ( q -> -. ( q -> -. p ) ) ) $=
  wq wp wq wp wn wi wn wi wi wp wq wq wp wn wi wn wi wi wq wp pm3.2im wq wp wq wp wn wi wn com12 mp $.
t171 $p |- ( -. ( -. p -> -. q ) -> -. ( ( p -> r ) -> -. q ) ) $=
  wp wn wp wr wi wi wp wn wq wn wi wn wp wr wi wq wn wi wn wi wp wp wi wp wn wp wn wi wi wn wp wi wp wn wp wr wi wi wp wp wp t040 wp wp wi wp
    wn wp wn wi wi wn wp wi wp wr t101 mp wp wn wp wr wi wq andir mp $.
t172 $p |- ( -. ( p -> -. ( -. q -> r ) ) -> ( -. r -> q ) ) $=
  wp wq wn wr wi wn wi wn wq wn wr wi wi wp wq wn wr wi wn wi wn wr wn wq wi wi wp wq wn wr wi simpr wp wq wn wr wi wn wi wn wq wr con13 mp $.
t173 $p |- ( ( p -> ( q -> -. ( r -> p ) ) ) -> ( p -> -. q ) ) $=
  wp wq wr wp wi wi wi wp wq wr wp wi wn wi wi wp wq wn wi wi wp wq wr t103 wp wq wr wp wi pm2.65d mp $.
t174 $p |- ( ( -. -. p -> q ) -> -. -. ( p -> q ) ) $=
  wp wn wn wq wi wp wq wi wi wp wn wn wq wi wp wq wi wn wn wi wp wq t073 wp wn wn wq wi wp wq wi dnid mp $.
t175 $p |- ( ( p -> -. ( ( ( q -> r ) -> q ) -> q ) ) -> ( p -> s ) ) $=
  wq wr wi wq wi wq wi wn ws wi wp wq wr wi wq wi wq wi wn wi wp ws wi wi wp wp wp wi wn wn wi wp wp wp wi wi wi wq wr wi wq wi wq wi wn ws wi
    wp wp wp t062 wp wp wp wi wn wn wi wp wp wp wi wi wi wq wr ws t131 mp wq wr wi wq wi wq wi wn ws wp imim2 mp $.
t176 $p |- ( p -> -. -. ( q -> p ) ) $=
  wq wp wi wn wq wp wi wn wp wn wi wi wn wp wq wp wi wn wn wi wi wp wq wp wi wn wn wi wq wp wq wp wi wn wp wq wp wi wn wn wi t158 wq wp wi wn
    wq wp wi wn wp wn wi wi wp wq wp wi wn wn wi wi wq wp wi wn wq wp wi wn wp wn wi wi wn wp wq wp wi wn wn wi wi wp wq wp wi wn wn wi wi wq wp
    wi wn wp t043 wq wp wi wn wq wp wi wn wp wn wi wi wp wq wp wi wn wn wi pm2.61 mp mp $.
t177 $p |- -. -. ( -. ( p -> p ) -> ( q -> ( r -> ( s -> t ) ) ) ) $=
  wp wp wi wn wq wr ws wt wi wi wi wi wp wp wi wn wq wr ws wt wi wi wi wi wn wn wp wq wr ws wt t144 wp wp wi wn wq wr ws wt wi wi wi wi notnot
    mp $.
t178 $p |- ( p -> ( q -> ( ( p -> -. p ) -> r ) ) ) $=
  wp wp wn wi wr wi wn wp wp wn wi wi wp wq wp wp wn wi wr wi wi wi wp wp wn wi wr simplim wp wp wn wi wr wi wp wq t122 mp $.
t179 $p |- -. -. ( ( ( p -> q ) -> p ) -> p ) $=
  wp wq wi wp wi wp wi wp wq wi wp wi wp wi wn wn wp wq peirce wp wq wi wp wi wp wi notnot mp $.
t180 $p |- ( ( ( p -> ( q -> p ) ) -> r ) -> r ) $=
  wp wp wp wi wi wn wn wp wq wp wi wi wr wi wi wp wq wp wi wi wr wi wi wp wq wp wi wi wr wi wr wi wp wp wp wq wp wi wi wr wi t123 wp wp wp wi
    wi wn wn wp wq wp wi wi wr wi wi wp wq wp wi wi wr wi wi wp wq wp wi wi wp wq wp wi wi wr wi wr wi wi wi wp wp wp wi wi wn wn wp wq wp wi wi
    wr wi wi wp wq wp wi wi wr wi wi wp wq wp wi wi wr wi wr wi wi wp wp wp wi wi wn wn wp wq wp wi wi wr wi wp wq wp wi wi wr pm2.86 wp wp wp
    wi wi wn wn wp wq wp wi wi wr wi wi wp wq wp wi wi wr wi wi wp wq wp wq wp wi wi wr wi wr wi t074 mp mp $.
t181 $p |- -. -. ( ( p -> ( p -> -. q ) ) -> ( q -> -. p ) ) $=
  wp wp wq wn wi wi wq wp wn wi wi wp wp wq wn wi wi wq wp wn wi wi wn wn wp wq t043 wp wp wq wn wi wi wq wp wn wi wi notnot mp $.
t182 $p |- ( p -> ( q -> ( ( p -> -. ( r -> -. s ) ) -> s ) ) ) $=
  wp wp wr ws wn wi wn wi wq ws wi wi wi wp wq wp wr ws wn wi wn wi ws wi wi wi wp wr ws wq t041 wp wp wr ws wn wi wn wi wq ws com23 mp $.
t183 $p |- ( ( p -> ( p -> q ) ) -> ( p -> ( r -> q ) ) ) $=
  wp wq wi wr wp wq wi wi wi wp wq wi wp wi wp wq wi wr wq wi wi wi wi wp wp wq wi wi wp wr wq wi wi wi wp wq wi wr wp wq frege2 wp wq wi wp
    wi wp wq wi wr wq wi wi wi wp wp wq wi wi wp wr wq wi wi wi wi wp wq wi wr wp wq wi wi wi wp wq wi wp wi wp wq wi wr wq wi wi wi wi wp wp wq
    wi wi wp wr wq wi wi wi wi wp wq wi wp wp wq wi wr wq wi loowoz wp wq wi wp wi wp wq wi wr wq wi wi wi wp wp wq wi wi wp wr wq wi wi wi wp
    wq wi wr t094 mp mp $.
t184 $p |- ( -. p -> ( -. ( q -> ( r -> ( s -> r ) ) ) -> t ) ) $=
  wq wr ws wr wi wi wi wp wi wp wi wp wn wq wr ws wr wi wi wi wn wt wi wi wq wr ws wp t120 wq wr ws wr wi wi wi wp wp wt t072 mp $.
t185 $p |- ( -. p -> ( -. -. -. ( q -> q ) -> r ) ) $=
  wq wq wi wn wn wp wi wp wi wp wn wq wq wi wn wn wn wr wi wi wp wp wp wn wn wp wp wi wi wp wi wi wi wq wq wi wn wn wp wi wp wi wp wp wp t167
    wp wp wp wn wn wp wp wi wi wp wi wi wi wq wp t106 mp wq wq wi wn wn wp wp wr t072 mp $.
t186 $p |- ( ( ( p -> p ) -> -. ( p -> p ) ) -> q ) $=
  wp wp wi wn wp wp wp wp wi wi wi wi wn wn wp wp wi wp wp wi wn wi wq wi wp wp wp wp wp t177 wp wp wi wp wp wi wn wp wp wp wp wi wi wi wi wn
    wn wp wp wi wp wp wi wn wi wq wi wi wp id wp wp wi wp wp wi wn wp wp wp wp wi wi wi wi wn wn wq t178 mp mp $.
t187 $p |- -. -. ( p -> ( q -> q ) ) $=
  wp wp wp wi wi wp wq wq wi wi wn wn wi wp wq wq wi wi wn wn wp wp wp wi wi wp wq t162 wp wp wp wq wq wi wi wn wn t180 mp $.
t188 $p |- ( ( ( p -> ( q -> ( r -> ( -. q -> s ) ) ) ) -> t ) -> t ) $=
  wq wn wq wr wp ws wi wi wi wi wp wq wr wq wn ws wi wi wi wi wi wp wq wr wq wn ws wi wi wi wi wt wi wt wi wq wn wq wr wp ws com14 wq wr wp ws
    wi wi wp wq wr wq wn ws wi wi wi wi wt t151 mp $.
t189 $p |- ( p -> -. ( ( -. ( q -> r ) -> -. r ) -> -. p ) ) $=
  wq wr wi wn wr wn wi wp wq wr wi wn wr wn wi wp wn wi wn wi wq wr simprim wq wr wi wn wr wn wi wp pm3.2im mp $.
t190 $p |- ( ( ( p -> ( q -> p ) ) -> r ) -> -. -. ( -. r -> s ) ) $=
  wp wq wp wi wi wr wi wr wi wp wq wp wi wi wr wi wr wn ws wi wn wn wi wp wq wr t180 wp wq wp wi wi wr wi wr ws t110 mp $.
t191 $p |- ( -. p -> ( -. ( q -> ( ( -. r -> r ) -> r ) ) -> s ) ) $=
  wq wr wn wr wi wr wi wi wp wi wp wi wp wn wq wr wn wr wi wr wi wi wn ws wi wi wq wr wp t076 wq wr wn wr wi wr wi wi wp wp ws t072 mp $.
t192 $p |- -. -. ( ( -. p -> -. -. p ) -> p ) $=
  wp wn wp wn wn wi wp wi wp wn wp wn wn wi wp wi wn wn wp t108 wp wn wp wn wn wi wp wi notnot mp $.
t193 $p |- ( -. p -> ( q -> ( -. ( p -> r ) -> s ) ) ) $=
  wp wr wi wn wp wn wq ws wi wi wi wp wn wq wp wr wi wn ws wi wi wi wi wp wn wq wp wr wi wn ws wi wi wi wp wr wi wn wp wn wq ws com3l wp wr wq
    ws wi wp wn wq wp wr wi wn ws wi wi wi t059 mp $.
t194 $p |- ( -. p -> ( -. ( q -> r ) -> ( -. q -> s ) ) ) $=
  wq wr wi wn wq wn ws wi wi wn wp wp wi wp wi wi wp wn wq wr wi wn wq wn ws wi wi wi wq wr ws wp wp wi wp wi t092 wq wr wi wn wq wn ws wi wi
    wp wp t080 mp $.
t195 $p |- ( -. ( p -> ( q -> ( r -> s ) ) ) -> -. -. ( t -> t ) ) $=
  wp wp wi wp wp wi wn wi wp wi wp wq wr ws wi wi wi wn wt wt wi wn wn wi wp wp t186 wp wp wi wp wp wi wn wi wp wi wt wt wi wn wp wq wr ws wi
    wi wi wi wi wp wp wi wp wp wi wn wi wp wi wp wq wr ws wi wi wi wn wt wt wi wn wn wi wi wp wp wi wp wp wi wn wi wp wi wt wp wq wr ws t132 wp
    wp wi wp wp wi wn wi wp wi wt wt wi wn wp wq wr ws wi wi wi con34 mp mp $.
t196 $p |- ( -. ( -. p -> -. q ) -> ( ( q -> r ) -> r ) ) $=
  wp wn wq wn wi wr wi wq wr wi wr wi wi wp wn wq wn wi wn wq wr wi wr wi wi wp wq wr t055 wp wn wq wn wi wr wq wr wi wr wi jarl mp $.
t197 $p |- ( p -> ( ( -. ( p -> -. q ) -> r ) -> ( q -> r ) ) ) $=
  wp wq wp wq wn wi wn wr wi wr wi wi wi wp wp wq wn wi wn wr wi wq wr wi wi wi wp wq wn wi wn wp wq wn wi wn wr wi wr wi wi wp wq wp wq wn wi
    wn wr wi wr wi wi wi wp wq wn wi wn wr pm2.27 wp wq wp wq wn wi wn wr wi wr wi expt mp wp wq wp wq wn wi wn wr wi wr com23 mp $.
t198 $p |- ( -. -. -. ( p -> p ) -> q ) $=
  wq wn wp wp wi wn wn wn wq wi wi wp wp wi wn wn wn wq wi wq wp wq t185 wq wp wp wi wn wn wn clavius mp $.
t199 $p |- ( p -> ( ( p -> q ) -> ( r -> -. ( r -> -. q ) ) ) ) $=
  wq wr wr wq wn wi wn wi wi wp wp wq wi wr wr wq wn wi wn wi wi wi wq wr t170 wq wr wr wq wn wi wn wi wp t029 mp $.
t200 $p |- ( -. ( p -> ( -. ( q -> r ) -> -. r ) ) -> s ) $=
  wq wr wi wn wr wn wi wp wq wr wi wn wr wn wi wi wn ws wi wq wr simprim wq wr wi wn wr wn wi wp ws t165 mp $.
